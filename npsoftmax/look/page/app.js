// The frame of the page: questions to the server, the image that is looked at, and which view is open.

import { el, imageCanvas, percent, show } from "./draw.js";
import { compareView } from "./compare.js";
import { gradientView } from "./gradient.js";
import { headView } from "./head.js";
import { networkView } from "./network.js";
import { runView } from "./run.js";

const $ = (id) => document.getElementById(id);
const token = document.querySelector("meta[name=token]").content;
export const state = { image: 0, start: null, forward: null };

// ---------------------------------------------------------------- questions
class Told extends Error {} // stands in #error already

async function send(path, body) {
  try {
    const answer = await fetch(path, { method: "POST", headers: { "X-Token": token }, body });
    const content = await answer.json();
    if (answer.ok) return content;
    throw new Told(content.error);
  } catch (error) {
    const gone = "npsoftmax look has ended: start it again in the console, and open the address that it prints.";
    $("error").textContent = error instanceof Told ? error.message : gone;
    $("error").hidden = false;
    throw new Told(error.message);
  }
}

export async function ask(name, question = {}) {
  const answer = await send(`/api/${name}`, JSON.stringify(question));
  $("error").hidden = true;
  return answer;
}

// For what is asked at every move of the mouse: one question at a time, and then the newest.
export function latest(answered) {
  let waiting = null, busy = false;
  return async function asking(question) {
    waiting = question;
    if (busy) return;
    busy = true;
    try {
      while (waiting !== null) {
        const now = waiting;
        waiting = null;
        await answered(now);
      }
    } catch (error) {
      waiting = null;
      if (!(error instanceof Told)) throw error;
    } finally {
      busy = false;
    }
  };
}

// ---------------------------------------------------------------- views
const views = { network: networkView, head: headView, gradient: gradientView, run: runView, compare: compareView };
const open = {};

function choose(name) {
  for (const other of Object.keys(views)) {
    const tab = $(`tab-${other}`), chosen = other === name;
    tab.setAttribute("aria-selected", chosen);
    tab.tabIndex = chosen ? 0 : -1;
    $(other).hidden = !chosen;
  }
  history.replaceState(null, "", `#view-${name}`);
  open[name] ??= views[name]($(name));
  open[name].update?.();
}

function tabs() {
  const names = Object.keys(views);
  names.forEach((name, i) => {
    $(`tab-${name}`).addEventListener("click", () => choose(name));
    $(`tab-${name}`).addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const next = names[(i + step + names.length) % names.length];
      choose(next);
      $(`tab-${next}`).focus();
    });
  });
}

export const nameOf = (label) => state.start.runs[0].names[label] ?? `class ${label}`;

// ---------------------------------------------------------------- the image
const looking = latest(async (image) => {
  const found = await ask("forward", { image });
  Object.assign(state, { image, forward: found });
  show($("picture"), imageCanvas(found.image));
  const right = image < 0 ? "an image of your own" : `right: ${found.right.map(nameOf).join(", ") || "none"}`;
  const rows = found.top.map(({ label, p }) =>
    el("div", { class: found.right.includes(label) ? "good" : "" }, `${percent(p)}  ${nameOf(label)}`));
  const set = found.set ? el("p", { class: "small" }, `${state.start.runs[0].fitted}: ${found.set.slice(0, 12).join(", ")}${found.set.length > 12 ? ` … (${found.set.length})` : ""}`) : null;
  show($("said"), el("p", {}, right), el("div", { class: "small" }, rows), set);
  if (image >= 0) $("number").value = image;
  for (const [name, view] of Object.entries(open)) if (!$(name).hidden) view.update?.();
});

export function look(image) {
  const total = state.start.runs[0].images;
  if (image >= 0 && total) image = ((image % total) + total) % total;
  return looking(image);
}

function thumb(found) {
  const title = `${found.number}: ${found.right.map(nameOf).join(", ")}`;
  return el("button", { class: "thumb", title, "aria-label": title, onclick: () => look(found.number) }, imageCanvas(found));
}

export function thumbs(images) {
  return images.map(thumb);
}

function imagePanel() {
  $("before").addEventListener("click", () => look(state.image - 1));
  $("after").addEventListener("click", () => look(state.image + 1));
  $("number").addEventListener("change", () => look(Number.parseInt($("number").value) || 0));
  $("browse").addEventListener("click", async () => {
    $("gallery").hidden = !$("gallery").hidden;
    if (!$("gallery").hidden) show($("gallery"), thumbs((await ask("images", { first: Math.max(state.image, 0) })).images));
  });
  $("file").addEventListener("change", () => upload($("file").files[0]));
  const panel = $("image");
  panel.addEventListener("dragover", (event) => { event.preventDefault(); panel.classList.add("dropping"); });
  panel.addEventListener("dragleave", () => panel.classList.remove("dropping"));
  panel.addEventListener("drop", (event) => {
    event.preventDefault();
    panel.classList.remove("dropping");
    upload(event.dataTransfer.files[0]);
  });
}

async function upload(file) {
  if (file) look((await send("/api/upload", file)).image);
}

// ---------------------------------------------------------------- beginning
async function begin() {
  tabs();
  imagePanel();
  state.start = await ask("start");
  const [run] = state.start.runs;
  $("title").textContent = `${run.run} · ${run.model} · ${run.head} · ${run.parameters.toLocaleString("en")} parameters`;
  if (run.note) { $("error").textContent = run.note + " Drop an image of your own."; $("error").hidden = false; }
  const wanted = location.hash.replace("#view-", "");
  choose(wanted in views ? wanted : "network");
  if (run.images) await look(0);
}

addEventListener("unhandledrejection", (event) => {
  if (event.reason instanceof Told) event.preventDefault();
});
begin();
