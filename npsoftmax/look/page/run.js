// The run: curves, while it trains too; confusions, with the images behind a cell; reliability.

import { ask, nameOf, thumbs } from "./app.js";
import { el, number, percent, show, svg } from "./draw.js";

const EVERY = 2000; // milliseconds between two looks at a run that trains

export function runView(place) {
  const title = el("p"), curves = el("div", { class: "cards" }), table = el("div"), images = el("div", { "aria-live": "polite" }), reliability = el("div");
  show(place, title, curves, el("div", { class: "two" }, el("div", {}, table, reliability), el("div", { class: "side" }, images)));
  let timer = null, finished = null;

  async function update() {
    clearTimeout(timer);
    const run = await ask("curves");
    show(title, run.title);
    const { epochs, steps } = run;
    show(curves, chart("loss", epochs.epoch, { training: epochs.train_loss, validation: epochs.val_loss }),
      chart("accuracy", epochs.epoch, { training: epochs.train_accuracy, validation: epochs.val_accuracy }),
      chart("loss of the steps", steps.step, { loss: steps.loss }), chart("learning rate", steps.step, { rate: steps.learning_rate }));
    if (run.finished && !finished) { finished = true; await results(); }
    if (!run.finished) timer = setTimeout(() => { if (!place.hidden) update(); }, EVERY);
  }

  function chart(name, x, lines) {
    const kept = Object.entries(lines).filter(([, y]) => y && y.some((v) => v !== null));
    if (!x || !kept.length) return null;
    const all = kept.flatMap(([, y]) => y.filter((v) => v !== null)), low = Math.min(...all), high = Math.max(...all), first = x[0], last = x.at(-1);
    const px = (v) => 52 + ((v - first) / (last - first || 1)) * 232, py = (v) => 130 - ((v - low) / (high - low || 1)) * 110;
    const alone = x.length === 1 ? kept.map(([, y], i) => svg("circle", { cx: 164, cy: py(y[0]), r: 4, class: i ? "plus" : "minus" })) : [];
    const drawn = kept.map(([key, y], i) => svg("polyline", { class: `line${i + 1}`, points: x.map((v, j) => (y[j] === null ? null : `${px(v)},${py(y[j])}`)).filter(Boolean).join(" ") }, svg("title", {}, key)));
    const ends = kept.map(([key, y], i) => el("span", { class: i ? "plus" : "minus" }, `${i ? "– –" : "—"} ${key} ${number(y.findLast((v) => v !== null), 4)}  `));
    return el("div", { class: "card" }, el("h3", {}, name), svg("svg", { viewBox: "0 0 290 150", width: "100%", role: "img", "aria-label": `${name}: ${ends.map((e) => e.textContent).join(", ")}` },
      svg("line", { x1: 52, x2: 284, y1: 130, y2: 130, class: "axis" }), svg("line", { x1: 52, x2: 52, y1: 20, y2: 130, class: "axis" }), ...drawn, ...alone,
      svg("text", { x: 48, y: 26, "text-anchor": "end" }, number(high, 3)), svg("text", { x: 48, y: 130, "text-anchor": "end" }, number(low, 3)),
      svg("text", { x: 52, y: 146 }, number(first, 4)), svg("text", { x: 284, y: 146, "text-anchor": "end" }, number(last, 6))), el("p", { class: "small" }, ends));
  }

  async function results() {
    const found = await ask("confusion");
    if (found.counts.length) show(images, el("p", { class: "soft" }, "Click a cell of the table: the images behind it are shown here."));
    if (found.counts.length) show(table, el("h2", {}, "Confusions: click a cell"), el("p", { class: "small soft" }, "A row is what is right, a column what was said; darker is more. Below, the most frequent mistakes."), matrix(found), mistakes(found));
    if (found.reliability.low) show(reliability, el("h2", {}, "Reliability"), calibration(found.reliability));
  }

  function matrix({ counts, names }) {
    const n = counts.length, canvas = el("canvas", { width: n, height: n, tabindex: 0, role: "img", "aria-label": "confusion matrix" }), context = canvas.getContext("2d"), image = context.createImageData(n, n);
    counts.forEach((row, i) => {
      const total = row.reduce((a, b) => a + b, 0) || 1;
      row.forEach((count, j) => image.data.set([...[0, 1, 2].map((c) => Math.round(250 - (250 - [60, 20, 110][c]) * Math.sqrt(count / total))), 255], 4 * (i * n + j)));
    });
    context.putImageData(image, 0, 0);
    const where = (event) => { const box = canvas.getBoundingClientRect(); return [event.clientY - box.top, event.clientX - box.left].map((v) => Math.min(n - 1, Math.max(0, Math.floor((v / box.width) * n)))); };
    canvas.addEventListener("pointermove", (event) => { const [i, j] = where(event); canvas.title = `${names[i]} taken for ${names[j]}: ${counts[i][j]}`; });
    canvas.addEventListener("click", (event) => cell(...where(event)));
    const holder = el("div", { class: "big" }, canvas);
    holder.style.width = "min(100%, 520px)";
    return holder;
  }

  function mistakes({ counts, names }) {
    const all = counts.flatMap((row, i) => row.map((count, j) => [count, i, j])).filter(([count, i, j]) => i !== j && count).sort((a, b) => b[0] - a[0]).slice(0, 12);
    return el("div", { class: "row" }, all.map(([count, i, j]) => el("button", { class: "small", onclick: () => cell(i, j) }, `${names[i]} → ${names[j]} (${count})`)));
  }

  async function cell(right, said) {
    show(images, el("p", {}, "…"));
    const found = await ask("cell", { right, said });
    show(images, el("h2", {}, `${nameOf(right)} taken for ${nameOf(said)}: ${found.count}`), el("p", { class: "small soft" }, "Click one to look at it."), el("div", { class: "maps" }, thumbs(found.images)));
  }

  function calibration({ low, high, count, confidence, accuracy }) {
    const total = count.reduce((a, b) => a + b, 0), x = (v) => 40 + v * 220, y = (v) => 240 - v * 220;
    const drawn = low.map((from, k) => count[k] ? svg("g", {}, svg("title", {}, `said ${percent(confidence[k])}, right ${percent(accuracy[k])}, ${count[k]} images`),
      svg("rect", { x: x(from) + 1, width: x(high[k]) - x(from) - 2, y: y(accuracy[k]), height: y(0) - y(accuracy[k]), class: "mark", opacity: 0.35 + 0.65 * Math.sqrt(count[k] / total) })) : null);
    return svg("svg", { viewBox: "0 0 280 265", width: "min(100%, 420px)", role: "img", "aria-label": "share that is right against the probability said" }, ...drawn.filter(Boolean),
      svg("line", { x1: x(0), y1: y(0), x2: x(1), y2: y(1), class: "line2" }), svg("text", { x: 150, y: 262, "text-anchor": "middle" }, "probability said"), svg("text", { x: 4, y: 14 }, "share right"),
      svg("text", { x: 34, y: y(1) + 4, "text-anchor": "end" }, "1"), svg("text", { x: 34, y: y(0), "text-anchor": "end" }, "0"));
  }
  return { update };
}
