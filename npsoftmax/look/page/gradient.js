// The gradient: backward through one layer, and the difference of any of its numbers beside it.

import { ask, latest, nameOf, state } from "./app.js";
import { bytes, el, mapCanvas, number, show, svg } from "./draw.js";

export function gradientView(place) {
  const layer = el("select", { id: "layer", onchange: refresh }), target = el("select", { id: "target", onchange: refresh });
  const told = el("p"), tensors = el("div"), side = el("div", { class: "side", "aria-live": "polite" });
  show(place, el("div", { class: "row" }, el("label", {}, "layer ", layer), el("label", {}, "loss of the class ", target)), told, el("div", { class: "two" }, tensors, side));
  const { layers, names } = state.start.runs[0];
  show(layer, [...layers.map(({ path, kind }) => el("option", { value: path }, `${path} (${kind})`)), el("option", { value: "head" }, "head")]);
  show(target, names.map((name, c) => el("option", { value: c }, name)));
  let shownFor = null;

  function update() {
    if (!state.forward || shownFor === state.image) return;
    shownFor = state.image;
    target.value = state.forward.right[0] ?? state.forward.top[0].label;
    refresh();
  }

  const asking = latest(async (question) => {
    const found = await ask("gradient", question);
    show(told, "The loss of this image is ", el("b", {}, number(found.loss)), ". Orange raises it, blue lowers it; click any number. Another class above asks what would make this image that class.");
    show(tensors, found.tensors.map(drawn));
    show(side, el("p", { class: "soft" }, "Click a number of a gradient: it is computed again by a small step of that number alone, forward only."));
  });

  function refresh() {
    if (state.forward) asking({ image: state.image, target: Number(target.value), path: layer.value });
  }

  function drawn(tensor) {
    const data = bytes(tensor.data), [height, width, shownMaps] = tensor.shape, of = tensor.size;
    const maps = Array.from({ length: shownMaps }, (_, c) => {
      const canvas = mapCanvas(tensor, data, c), button = el("button", { class: "thumb", "aria-label": `${tensor.name}, part ${c}` }, canvas);
      if (height === 1) { canvas.style.width = "100%"; canvas.style.height = "26px"; }
      else canvas.style.width = `${Math.min(400, Math.max(44, width * 4))}px`;
      button.addEventListener("click", (event) => {
        const box = canvas.getBoundingClientRect(), keyed = event.detail === 0;
        const row = keyed ? 0 : Math.min(height - 1, Math.floor(((event.clientY - box.top) / box.height) * height));
        const column = keyed ? 0 : Math.min(width - 1, Math.floor(((event.clientX - box.left) / box.width) * width));
        pick(tensor, indexOf(of, row, column, c));
      });
      return button;
    });
    return el("div", { class: "layer" }, el("h3", {}, tensor.name === "x" ? "dx, of its input " : `d${tensor.name} `, el("span", { class: "soft small" }, `(${of.join(", ")}), from ${number(tensor.low)} to ${number(tensor.high)}`)), el("div", { class: "maps" }, maps));
  }

  // A filter (KH, KW, C, F) is drawn as its C·F maps, one after the other.
  function indexOf(size, row, column, map) {
    if (size.length === 1) return [column];
    if (size.length === 2) return [row, column];
    return size.length === 3 ? [row, column, map] : [row, column, Math.floor(map / size[3]), map % size[3]];
  }

  const picking = latest(async ([tensor, question]) => detail(tensor, question.index, await ask("element", question)));
  const pick = (tensor, index) => picking([tensor, { image: state.image, target: Number(target.value), path: layer.value, tensor: tensor.name, index }]);

  function detail(tensor, index, found) {
    const inputs = index.map((value, axis) => el("input", { type: "number", min: 0, max: tensor.size[axis] - 1, value, "aria-label": `axis ${axis}`, onchange: (event) => pick(tensor, index.with(axis, Math.min(Math.max(Number(event.target.value) || 0, 0), tensor.size[axis] - 1))) }));
    const gap = Math.abs(found.analytic - found.numeric), scale = Math.max(Math.abs(found.analytic), Math.abs(found.numeric), 1e-12);
    const kink = Math.abs(found.up - found.down) > 1e-2 * scale && gap / scale > 1e-4;
    const row = (name, value, why) => el("tr", {}, el("td", {}, name), el("td", {}, el("b", {}, number(value, 7))), el("td", { class: "soft" }, why));
    show(side, el("h2", {}, tensor.name === "x" ? "dx" : `d${tensor.name}`), el("div", { class: "row" }, "place ", inputs),
      el("p", {}, "the number itself is ", el("b", {}, number(found.value))),
      el("table", { class: "small", "data-analytic": found.analytic, "data-numeric": found.numeric }, el("tbody", {},
        row("analytic", found.analytic, "by backward"), row("numeric", found.numeric, `(${number(found.more, 9)} - ${number(found.less, 9)}) / (2 · ${found.step})`),
        row("difference", gap, `${(gap / scale).toExponential(1)} of the larger`), row("from above", found.up, ""), row("from below", found.down, ""))),
      slope(found),
      kink ? el("p", { class: "bad" }, "From above and from below differ: there is a kink here (a ReLU at 0, or two equal numbers under a pool), and no derivative.") : el("p", { class: "good" }, gap / scale < 1e-4 || gap < 1e-9 ? "They agree." : ""));
  }

  function slope({ analytic, up, down }) {
    const most = Math.max(Math.abs(analytic), Math.abs(up), Math.abs(down), 1e-12), y = (v) => 50 - (v / most) * 40;
    return svg("svg", { viewBox: "0 0 220 100", width: "100%", role: "img", "aria-label": "the loss near this number: differences solid, derivative dashed" },
      svg("line", { x1: 0, x2: 220, y1: 50, y2: 50, class: "axis" }),
      svg("polyline", { class: "line1", points: `20,${y(-down)} 110,50 200,${y(up)}` }), svg("line", { class: "line2", x1: 20, y1: y(-analytic), x2: 200, y2: y(analytic) }),
      svg("text", { x: 4, y: 96 }, "a step less"), svg("text", { x: 216, y: 96, "text-anchor": "end" }, "a step more"));
  }
  return { update };
}
