// Elements, pictures and bars: what all views draw with.

export function el(tag, given = {}, ...children) {
  const made = document.createElement(tag);
  return fill(made, given, children);
}

export function svg(tag, given = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), given, children);
}

function fill(made, given, children) {
  for (const [name, value] of Object.entries(given)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== null && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

export function show(place, ...children) {
  place.replaceChildren(...children.flat().filter(Boolean));
}

export function number(value, digits = 4) {
  if (value === null || value === undefined) return "–";
  if (value !== 0 && (Math.abs(value) < 1e-3 || Math.abs(value) >= 1e5)) return value.toExponential(2);
  return value.toPrecision(digits).replace(/(\.\d*?)0+$/, "$1").replace(/\.$/, "");
}

export function percent(p) {
  return p === null ? "–" : (100 * p).toFixed(p < 0.1 && p > 0 ? 2 : 1) + " %";
}

export function sign(value) {
  return value > 0 ? "plus" : value < 0 ? "minus" : "";
}

export function bytes(text) {
  return Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
}

// A number from low to high as red, green and blue: blue below 0, orange above, white at 0; or grey where none is below.
function colour(value, low, high) {
  if (low >= 0) {
    const grey = high > low ? Math.round((255 * (value - low)) / (high - low)) : 0;
    return [grey, grey, grey];
  }
  const most = Math.max(-low, high) || 1, share = Math.min(1, Math.abs(value) / most);
  const end = value < 0 ? [31, 111, 181] : [196, 87, 14];
  return end.map((c) => Math.round(247 + (c - 247) * share));
}

// One map of a picture {shape: [H, W, C], low, high, data}.
export function mapCanvas(picture, data, channel) {
  const [height, width] = picture.shape, canvas = el("canvas", { width, height });
  const context = canvas.getContext("2d"), image = context.createImageData(width, height);
  const { low, high } = picture;
  for (let i = 0; i < height * width; i++) {
    const value = low + (data[channel * height * width + i] * (high - low)) / 255;
    image.data.set([...colour(value, low, high), 255], 4 * i);
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

// An image of bytes (H, W, C), C = 1 or 3.
export function imageCanvas({ shape, data }) {
  const [height, width, channels] = shape, pixels = bytes(data), canvas = el("canvas", { width, height });
  const context = canvas.getContext("2d"), image = context.createImageData(width, height);
  for (let i = 0; i < height * width; i++)
    for (let c = 0; c < 4; c++) image.data[4 * i + c] = c === 3 ? 255 : pixels[channels * i + (channels === 3 ? c : 0)];
  context.putImageData(image, 0, 0);
  return canvas;
}

// Horizontal bars: rows of {label, value, text, title}; from `least` to `most`.
export function bars(rows, { least = 0, most = 1, width = 230, names = 92, high = 16, label = "" } = {}) {
  const span = most - least || 1, x = (v) => names + ((v - least) / span) * (width - names - 54);
  const zero = x(Math.min(Math.max(0, least), most));
  const drawn = rows.map((row, i) => {
    const value = row.value === null ? 0 : Math.min(Math.max(row.value, least), most), end = x(value), y = i * high;
    return svg("g", {},
      svg("title", {}, row.title ?? `${row.label}: ${row.text}`),
      svg("text", { x: names - 5, y: y + high - 4, "text-anchor": "end" }, clip(row.label, names)),
      svg("rect", { x: Math.min(zero, end), y: y + 2, width: Math.max(Math.abs(end - zero), value ? 1 : 0), height: high - 4, class: row.kind ?? (value < 0 ? "minus" : "plus") }),
      svg("text", { x: width, y: y + high - 4, class: "soft", "text-anchor": "end" }, row.text));
  });
  return svg("svg", { viewBox: `0 0 ${width} ${rows.length * high}`, width: "100%", role: "img", "aria-label": label + rows.map((r) => `${r.label} ${r.text}`).join(", ") },
    svg("line", { x1: zero, x2: zero, y1: 0, y2: rows.length * high, class: "axis" }), ...drawn);
}

export function clip(text, width) {
  const most = Math.floor(width / 6.6);
  return text.length <= most ? text : text.slice(0, most - 1) + "…";
}

// A table of numbers (rows of rows); `mark`: the place [row, column] that won.
export function grid(rows, { mark = null, caption = "" } = {}) {
  const cells = rows.map((row, i) =>
    el("tr", {}, row.map((v, j) => el("td", { class: `${sign(v)} ${mark && mark[0] === i && mark[1] === j ? "win" : ""}` }, number(v, 3)))));
  return el("div", {}, el("div", { class: "small soft" }, caption), el("table", { class: "grid" }, el("tbody", {}, cells)));
}
