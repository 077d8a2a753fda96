// The network: what every layer makes of the image, and the numbers behind one unit.

import { ask, latest, nameOf, state } from "./app.js";
import { bars, bytes, el, grid, mapCanvas, number, show, sign, svg } from "./draw.js";

const NAMES = {
  convolution: "products of the patch and the filter, summed", products: "products of inputs and weights, summed",
  largest: "the largest of the window", mean: "the mean of the window", norm: "shifted and scaled", moved: "moved, unchanged",
  sum: "two numbers added", attention: "where this token looks, a row a head", elementwise: "a function of one number", other: "",
};

export function networkView(place) {
  const list = el("div"), side = el("div", { class: "side", "aria-live": "polite" });
  show(place, el("div", { class: "two" }, list, side));
  let chosen = null, channel = 0, at = [0, 0];

  function update() {
    if (!state.forward) return show(list, el("p", { class: "soft" }, "Choose an image of your own on the left: then every layer shows what it makes of it."));
    const { maps } = state.forward, { layers } = state.start.runs[0];
    const known = layers.filter(({ path }) => maps[path]);
    if (!chosen || (chosen !== "head" && !maps[chosen])) choose(known[0].path, 0);
    show(list, layers.map((layer) => (maps[layer.path] ? drawn(layer, maps[layer.path]) : alone(layer))), headRow());
    detail();
  }

  function alone({ path, what }) {
    return el("div", { class: "layer soft small" }, `${path}  ${what}: part of the layer around it`);
  }

  function drawn({ path, what, inside }, picture) {
    const data = bytes(picture.data), shape = picture.kind === "vector" ? [picture.shape[1]] : picture.kind === "tokens" ? picture.shape.slice(0, 2) : [...picture.shape.slice(0, 2), picture.maps];
    const count = Math.min(picture.maps, picture.shape[2]);
    const maps = Array.from({ length: count }, (_, c) => {
      const button = el("button", {
        class: "thumb", "aria-pressed": path === chosen && c === channel, "aria-label": `${path}, map ${c}`,
        onclick: () => { choose(path, c); update(); },
      }, mapCanvas(picture, data, c));
      if (picture.kind !== "maps") button.firstChild.style.width = "100%";
      return button;
    });
    const hidden = picture.maps > count ? `, the first ${count} of ${picture.maps}` : "";
    const heading = el("h3", {}, path, " ", el("span", { class: "soft small" }, `${what} → (${shape.join(", ")})${hidden}`));
    return el("div", { class: "layer", style: null, "data-path": path, "data-inside": inside }, heading, el("div", { class: "maps" }, maps));
  }

  function headRow() {
    if (!state.start.runs[0].scores) return el("div", { class: "layer soft small" }, `head ${state.start.runs[0].head}: no linear map to one score a class`);
    const buttons = state.forward.top.map(({ label }) =>
      el("button", { class: "small", onclick: () => { chosen = "head"; channel = label; detail(); } }, nameOf(label)));
    return el("div", { class: "layer" }, el("h3", {}, "head ", el("span", { class: "soft small" }, "the scores of")), el("div", { class: "row" }, buttons));
  }

  function choose(path, c) {
    chosen = path;
    channel = c;
    const picture = state.forward.maps[path];
    if (picture) at = [Math.min(at[0], picture.shape[0] - 1), Math.min(at[1], picture.shape[1] - 1)];
  }

  // ---------------------------------------------------------------- one map, and the unit under the mouse
  const found = el("div"), owned = el("div");
  let ownedOf = null;

  // The parameters of the chosen layer, as pictures.
  async function own(path) {
    if (ownedOf === path) return;
    ownedOf = path;
    const { tensors } = await ask("parameters", { path });
    show(owned, tensors.map((tensor) => {
      const data = bytes(tensor.data), [height, width, maps] = tensor.shape;
      const pictures = Array.from({ length: maps }, (_, c) => {
        const canvas = mapCanvas(tensor, data, c);
        canvas.style.width = height === 1 || width > 40 ? "100%" : "36px";
        if (height === 1) canvas.style.height = "18px";
        return el("span", { class: "thumb" }, canvas);
      });
      return el("div", {}, el("h3", {}, tensor.name, " ", el("span", { class: "soft small" }, `(${tensor.size.join(", ")}), from ${number(tensor.low)} to ${number(tensor.high)}`)), el("div", { class: "maps" }, pictures));
    }));
  }

  const asking = latest(async (question) => drawUnit(question, await ask("unit", question)));

  function detail() {
    if (chosen === "head") {
      show(side, el("h2", {}, `the score of ${nameOf(channel)}`), found, owned);
      own("head");
      return asking({ image: state.image, path: "head", place: [channel] });
    }
    const picture = state.forward.maps[chosen];
    const canvas = mapCanvas(picture, bytes(picture.data), channel);
    const [height, width] = picture.shape;
    const frame = svg("rect", { class: "frame", width: 1, height: 1 });
    const big = el("div", { class: "big", tabindex: 0, role: "application", "aria-label": `map ${channel} of ${chosen}: arrow keys move the unit` },
      canvas, svg("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none" }, frame));
    const w = Math.min(380, Math.max(width * 12, 60));
    big.style.width = `${w}px`;
    if (height === 1) canvas.style.height = "40px";

    function move(row, column) {
      at = [Math.min(Math.max(row, 0), height - 1), Math.min(Math.max(column, 0), width - 1)];
      frame.setAttribute("x", at[1]);
      frame.setAttribute("y", at[0]);
      asking({ image: state.image, path: chosen, place: unitPlace(picture) });
    }
    function pointed(event) {
      const box = canvas.getBoundingClientRect();
      move(Math.floor(((event.clientY - box.top) / box.height) * height), Math.floor(((event.clientX - box.left) / box.width) * width));
    }
    big.addEventListener("pointermove", pointed);
    big.addEventListener("pointerdown", pointed);
    big.addEventListener("keydown", (event) => {
      const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
      if (!step) return;
      event.preventDefault();
      move(at[0] + step[0], at[1] + step[1]);
    });
    const title = picture.kind === "maps" ? `map ${channel} of ${chosen}` : chosen;
    show(side, el("h2", {}, title), el("p", { class: "small soft" }, `from ${number(picture.low)} to ${number(picture.high)}; point at a unit, or use the arrow keys. Blue is below 0, orange above; where nothing is below 0, black is the least and white the most`), big, found, owned);
    own(chosen);
    move(...at);
  }

  function unitPlace(picture) {
    if (picture.kind === "vector") return [at[1]];
    return picture.kind === "tokens" ? at : [...at, channel];
  }

  function drawUnit({ path, place }, unit) {
    const where = path === "head" ? "" : `unit ${JSON.stringify(place)}: `;
    show(found, el("p", {}, where, el("b", { class: `value ${sign(unit.value)}` }, number(unit.value)), " ", el("span", { class: "soft" }, NAMES[unit.kind])), (DRAWN[unit.kind] ?? (() => null))(unit));
  }

  return { update };
}

// ---------------------------------------------------------------- kinds of units
const then = (unit) => (unit.relu ? ", and 0 where that is below 0" : unit.silu ? ", times the sigmoid of that" : "");
const equals = (unit, parts) => el("p", { class: "formula" }, parts, then(unit), ` = ${number(unit.made)}`);

const DRAWN = {
  convolution(unit) {
    const place = el("div"), buttons = unit.channels.slice(0, 12).map((c) =>
      el("button", { class: "small", onclick: () => channel(c) }, `${c}: ${number(unit.by_channel[c], 3)}`));
    function channel(c) {
      const products = unit.x[c].map((row, i) => row.map((v, j) => v * unit.w[c][i][j]));
      show(place, el("div", { class: "grids" }, grid(unit.x[c], { caption: `patch, channel ${c}` }), "×", grid(unit.w[c], { caption: "filter" }), "=", grid(products, { caption: "products" })));
    }
    channel(unit.channels[0]);
    const sum = unit.by_channel.reduce((a, b) => a + b, 0);
    return [el("p", { class: "small" }, `The patch begins at row ${unit.at[0]}, column ${unit.at[1]}; outside of the map there are zeros. Sums of the channels, the largest first:`),
      el("div", { class: "row" }, buttons), place,
      equals(unit, `${number(sum)} from ${unit.by_channel.length} channel${unit.by_channel.length > 1 ? "s" : ""} + bias ${number(unit.bias)}`)];
  },
  products(unit) {
    const rows = unit.terms.map(({ d, x, w }) => el("tr", {}, el("td", {}, d), el("td", {}, number(x)), el("td", {}, number(w)), el("td", { class: sign(x * w) }, number(x * w))));
    return [el("table", { class: "small" }, el("thead", {}, el("tr", {}, ["input", "x", "w", "x · w"].map((t) => el("th", {}, t)))), el("tbody", {}, rows)),
      equals(unit, `these ${unit.terms.length} + the other ${unit.count - unit.terms.length} (${number(unit.others)}) + bias ${number(unit.bias)}`)];
  },
  largest: (unit) => [grid(unit.x, { mark: unit.winner, caption: `window at row ${unit.at[0]}, column ${unit.at[1]}; the winner is marked: it alone gets the gradient` }), equals(unit, "the largest")],
  mean: (unit) => [el("div", { class: "wide" }, grid(unit.x, { caption: "window" })), equals(unit, "the mean")],
  norm: (unit) => equals(unit, `${number(unit.gamma)} · (${number(unit.x)} - mean ${number(unit.mean)}) / √(variance ${number(unit.var)} + ${unit.eps}) + ${number(unit.beta)}`),
  moved: (unit) => el("p", { class: "formula" }, `from place (${unit.source.join(", ")})`),
  sum: (unit) => equals(unit, `${number(unit.x)} + ${number(unit.f)}`),
  elementwise: (unit) => el("p", { class: "formula" }, `f(${number(unit.x)}) = ${number(unit.value)}`),
  attention: (unit) => unit.weights.map((row, head) => bars(row.map((p, t) => ({ label: `token ${t}`, value: p, text: number(p, 2) })).filter((r) => r.value > 0.02 || row.length < 12), { most: Math.max(...row), label: `head ${head}: ` })),
};
