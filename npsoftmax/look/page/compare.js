// Two runs, or one, on the same image.

import { ask, latest, nameOf, state } from "./app.js";
import { bars, el, number, percent, show } from "./draw.js";

export function compareView(place) {
  let shownFor = null;
  const asking = latest(async (image) => {
    const { runs } = await ask("compare", { image });
    const hint = runs.length < 2 ? el("p", { class: "soft" }, "To see a second run beside this one: npsoftmax look RUN OTHER.") : null;
    const { label: right, right: all } = state.forward;
    show(place, hint, el("div", { class: "cards" }, runs.map((run) => {
      const rows = run.top.map(({ label, p }) => ({ label: (all.includes(label) ? "✓ " : "") + nameOf(label), value: p, text: percent(p), kind: all.includes(label) ? "mark" : "minus" }));
      return el("div", { class: "card" }, el("h2", {}, `${run.run} (${run.head})`), bars(rows, { width: 320, names: 130, high: 20 }),
        el("p", { class: "small" }, run.entropy === null ? "the classes are no distribution" : `entropy ${number(run.entropy)} nats`, run.p && right !== null ? `; the right class, ${nameOf(right)}, has ${percent(run.p[right])}` : ""));
    })), runs.length > 1 && runs[0].p ? apart(runs) : null);
  });

  function apart([first, second]) {
    const rows = first.p.map((p, c) => [second.p[c] - p, c]).sort((a, b) => Math.abs(b[0]) - Math.abs(a[0])).slice(0, 10);
    const most = Math.max(...rows.map(([d]) => Math.abs(d)), 1e-9);
    return el("div", { class: "card" }, el("h2", {}, `What ${second.run} adds to each class`), bars(rows.map(([d, c]) => ({ label: nameOf(c), value: d, text: percent(d) })), { least: -most, most, width: 420, names: 150, high: 20 }));
  }

  function update() {
    if (!state.forward || shownFor === state.image) return;
    shownFor = state.image;
    asking(state.image);
  }
  return { update };
}
