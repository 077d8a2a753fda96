// The head: logits that can be dragged, and what every mapping and every head makes of them.

import { ask, latest, nameOf, state } from "./app.js";
import { bars, el, number, percent, show } from "./draw.js";

const SLIDERS = [
  ["tau", 0.05, 5, 0.05, 1, "τ of gumbel_softmax"], ["order", 2, 12, 2, 2, "order of taylor_softmax"],
  ["alpha", 1.05, 4, 0.05, 1.5, "α of entmax"], ["sink", -5, 5, 0.1, 0, "sink of softmax1"],
];
const LOGITS = 6;

export function headView(place) {
  const logits = el("div"), options = el("div", { class: "sliders" }), mapped = el("div", { class: "cards" }), lost = el("div", { class: "cards" }), tree = el("div");
  const given = Object.fromEntries(SLIDERS.map(([name, , , , value]) => [name, value]));
  let z = [2, 1, 0.5, 0, -1, -2], names = z.map((_, i) => `class ${i}`), target = 0, noise = 0, drawnFor = null;

  const again = el("button", { onclick: () => { noise += 1; refresh(); } }, "new noise");
  const ofImage = el("button", { onclick: fromImage }, "load the six best classes of this image");
  show(place,
    el("h2", {}, "Logits: drag them"), el("div", { class: "row" }, ofImage, again), logits,
    el("h2", {}, "Probabilities under every mapping"), options, mapped,
    el("h2", {}, "Heads: probabilities, loss of the target, and its gradient"),
    el("p", { class: "small soft" }, "As in training: with noise, margins and class counts (each class half as frequent as the one before). Framed in red: published wirings that are wrong, and what they make of the same numbers."),
    lost, tree);
  show(options, SLIDERS.map(([name, least, most, step, value, text]) => slider(text, least, most, step, value, (v) => { given[name] = v; refresh(); })));

  function slider(text, min, max, step, value, moved) {
    const shown = el("output", {}, String(value));
    const input = el("input", { type: "range", min, max, step, value, "aria-label": text, oninput: () => { shown.textContent = number(Number(input.value), 3); moved(Number(input.value)); } });
    return el("label", {}, el("span", { class: "small" }, text), input, shown);
  }

  function drawLogits() {
    show(logits, el("div", { class: "sliders" }, z.map((value, i) => {
      const row = slider(names[i], -10, 10, 0.1, number(value, 3), (v) => { z[i] = v; refresh(); });
      const right = el("input", { type: "radio", name: "target", checked: i === target, "aria-label": `${names[i]} is right`, onchange: () => { target = i; refresh(); } });
      return el("div", { class: "row" }, right, row);
    })), el("p", { class: "small soft" }, "The point before a name says which class is right."));
  }

  function fromImage() {
    const { log_p, label } = state.forward ?? {};
    if (!log_p) return;
    const order = log_p.map((v, c) => [v ?? -20, c]).sort((a, b) => b[0] - a[0]).slice(0, LOGITS);
    z = order.map(([v]) => Math.max(v - order[0][0] + 4, -10));
    names = order.map(([, c]) => nameOf(c));
    target = Math.max(0, order.findIndex(([, c]) => c === label));
    drawLogits();
    refresh();
  }

  const refresh = () => asking({ z: [...z], target, noise, ...given });
  const asking = latest(async (question) => {
    const [first, second] = await Promise.all([ask("mappings", question), ask("losses", question)]);
    show(mapped, first.rows.map(mappingCard));
    show(lost, second.rows.map(lossCard));
  });

  function mappingCard({ name, formula, options: own, noise: noisy, p }) {
    const rest = 1 - p.reduce((a, b) => a + b, 0), rows = p.map((v, i) => ({ label: names[i], value: v, text: percent(v), kind: "mark" }));
    if (rest > 1e-9) rows.push({ label: "(none)", value: rest, text: percent(rest), kind: "minus" });
    const settings = Object.entries(own).map(([key, v]) => `${key} = ${number(v, 3)}`).join(", ");
    return el("div", { class: "card", "data-mapping": name, "data-p": JSON.stringify(p) }, el("h3", {}, name), el("p", { class: "formula soft" }, formula), bars(rows),
      el("p", { class: "small soft" }, [settings, noisy ? "with noise" : ""].filter(Boolean).join(", ")));
  }

  function lossCard(row) {
    const head = [el("h3", {}, row.name), el("p", { class: "formula soft" }, row.formula), row.mistake ? el("p", { class: "small bad" }, row.mistake) : null];
    if (row.why) return el("div", { class: "card" }, head, el("p", { class: "small soft" }, row.why));
    const most = Math.max(...row.dz.map((v) => Math.abs(v ?? 0)), 1e-9), sum = row.p.reduce((a, b) => a + b, 0);
    return el("div", { class: `card ${row.legacy ? "legacy" : ""}`, "data-head": row.name, "data-loss": row.loss }, head,
      bars(row.p.map((v, i) => ({ label: names[i], value: v, text: percent(v), kind: "mark" })), { label: "probabilities: " }),
      el("p", {}, "loss ", el("b", {}, number(row.loss)), Math.abs(sum - 1) > 1e-6 ? el("span", { class: "small soft" }, ` (Σ p = ${number(sum)})`) : null),
      bars(row.dz.map((v, i) => ({ label: names[i], value: v, text: number(v, 2) })), { least: -most, most, label: "gradient: " }));
  }

  async function drawTree() {
    const { ways } = await ask("tree", { image: state.image });
    if (!ways) return show(tree);
    const wrong = ways.right && ways.right.label !== ways.said.label;
    show(tree, el("h2", {}, "The way of this image through the tree"), way(`said: ${nameOf(ways.said.label)}`, ways.said.turns), wrong ? way(`right: ${nameOf(ways.right.label)}`, ways.right.turns) : null);
  }

  function way(title, turns) {
    const named = ({ count, names: some }) => `${some.join(", ")}${count > some.length ? ` … (${count})` : ""}`;
    const rows = turns.map(({ turn, p, here, there }) => el("tr", { class: p < 0.5 ? "bad" : "" },
      el("td", {}, turn), el("td", {}, percent(p)), el("td", {}, named(here)), el("td", { class: "soft" }, named(there))));
    return el("div", { class: "wide" }, el("h3", {}, title), el("table", { class: "small" }, el("thead", {}, el("tr", {}, ["turn", "p", "towards", "and not"].map((t) => el("th", {}, t)))), el("tbody", {}, rows)));
  }

  function update() {
    if (drawnFor === null) { drawLogits(); refresh(); }
    if (state.forward && drawnFor !== state.image) { drawnFor = state.image; drawTree(); }
    drawnFor ??= "none";
  }
  return { update };
}
