/** The page: it shows what the worker finds, and asks for it again when a setting changes. */

import { drawImage, drawOutlines } from "./draw.js";
import { fromRanges, rangesOf } from "./neighborhood.js";
import { settingsOf } from "./segment.js";

const LONGER = [15, 21, 27, 41];
const LEAST_RANGES = 1;
const DOING = {
  size: "Looking for the size of the objects",
  network: "The network looks at the image",
  label: "Finding objects",
  read: "Reading the image",
  start: "Starting",
};
const SUFFIXES = { png: "_labels.png", rois: "_rois.zip", geojson: "_objects.geojson" };
const TYPES = { png: "image/png", rois: "application/zip", geojson: "application/geo+json" };

const $ = (id) => document.getElementById(id);
const models = JSON.parse($("models").textContent);
const state = { name: "", plane: null, seen: null, found: null, diameter: null, model: Object.keys(models)[0] };

// --- the worker -----------------------------------------------------------------------------------------------------

const worker = startedWorker();
const waiting = new Map();

function startedWorker() {
  const source = new Blob([$("worker").textContent], { type: "text/javascript" });
  const started = new Worker(URL.createObjectURL(source));
  started.onerror = ({ message }) => refuseAll(message ?? "The browser does not allow this page to compute.");
  started.onmessage = ({ data: { id, answer, error, progress } }) => {
    if (progress) return showBusy(progress.what, progress.share);
    const { resolve, reject } = waiting.get(id);
    waiting.delete(id);
    return error === undefined ? resolve(answer) : reject(new Error(error));
  };
  return started;
}

/** Tell everything that waits for the worker that no answer will come. */
function refuseAll(message) {
  for (const { reject } of waiting.values()) reject(new Error(message));
  waiting.clear();
  say(message);
}

let asked = 0;

/** Ask the worker for something; see its METHODS. */
function ask(method, values = {}, transfer = []) {
  const id = (asked += 1);
  worker.postMessage({ id, method, values }, transfer);
  return new Promise((resolve, reject) => waiting.set(id, { resolve, reject }));
}

let started = null;

/** Give the worker what the page holds for it, once. */
function start() {
  started ??= (async () => {
    if (!window.DecompressionStream) throw new Error("This browser is too old for the page. Use one of 2023 or later.");
    const wasm = await unpacked(bytesOf("wasm"));
    const networks = Object.entries(models).map(([name, config]) => [
      name,
      { config, network: bytesOf(`network-${name}`) },
    ]);
    await ask("start", { wasm, models: Object.fromEntries(networks) }, [wasm]);
  })();
  return started;
}

function bytesOf(id) {
  const text = atob($(id).textContent.trim());
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i += 1) bytes[i] = text.charCodeAt(i);
  return bytes;
}

function unpacked(bytes) {
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}

// --- from an image to objects ---------------------------------------------------------------------------------------

/** Read an image, show it, and segment it. */
async function open(bytes, name) {
  await working("read", async () => {
    const { note, planes } = await ask("open", { bytes }, [bytes.buffer]);
    Object.assign(state, { name, seen: null, found: null, diameter: null });
    $("plane").replaceChildren(...planes.map((text, i) => new Option(text, i)));
    $("plane-row").hidden = planes.length < 2;
    say(note);
    await choose(0);
  });
}

/** Show one plane of the picture, and segment it. */
async function choose(number) {
  state.plane = await ask("choose", { number });
  Object.assign(state, { found: null, seen: null, diameter: null });
  $("main").dataset.state = "image";
  $("picture").hidden = false;
  drawImage($("image"), state.plane);
  draw();
  await see();
}

/** Let the network see the image, at the diameter that the user gave or at one that is found. */
async function see() {
  showBusy("start");
  await start();
  showBusy("size");
  state.seen = await ask("see", { model: state.model, diameter: state.diameter });
  showSettings();
  await label();
}

/** Cluster again. */
async function label() {
  state.found = await ask("label", { settings: chosenSettings() });
  showResult();
}

let wanted = false;
let labeling = false;

/** Cluster with the settings of now; while a clustering runs, only the last change is remembered. */
async function relabel() {
  showValues();
  wanted = true;
  if (labeling || !state.seen) return;
  labeling = true;
  $("main").ariaBusy = "true";
  while (wanted) {
    wanted = false;
    await attempt(label);
  }
  labeling = false;
  $("main").ariaBusy = "false";
}

/** Do something that takes time: say what, allow nothing else, and say what went wrong. */
async function working(what, task) {
  say("");
  showBusy(what);
  document.body.inert = true;
  $("main").ariaBusy = "true";
  await attempt(task);
  document.body.inert = false;
  $("main").ariaBusy = "false";
  $("busy").hidden = true;
}

async function attempt(task) {
  try {
    await task();
  } catch (error) {
    say(error.message);
  }
}

// --- what the page shows --------------------------------------------------------------------------------------------

function say(text) {
  $("message").textContent = text;
  $("message").hidden = !text;
}

function showBusy(what, share = 0) {
  $("busy").hidden = false;
  $("doing").textContent = DOING[what];
  if (share > 0) $("progress").value = share;
  else $("progress").removeAttribute("value");
}

function showResult() {
  const { count } = state.found;
  for (const id of ["panel", "bar", "downloads"]) $(id).hidden = false;
  $("count").value = count.toLocaleString("en");
  $("noun").textContent = count === 1 ? "object" : "objects";
  $("main").dataset.state = "result";
  draw();
}

function draw() {
  const view = document.querySelector("[name=view]:checked").value;
  drawOutlines($("outlines"), state.plane, state.found?.outlines ?? [], view);
}

/** Set the sliders to what the model brings. */
function showSettings() {
  const { scale, remark } = state.seen;
  const config = models[state.model];
  const found = state.diameter === null;
  $("diameter").value = Math.round(state.diameter ?? config.object_diameter / scale);
  $("found").textContent = found ? "Found in the image. Change it if objects are torn or joined." : "As you say.";
  $("remark").textContent = remark;
  $("remark").hidden = !remark;
  if ($("settings").dataset.model !== state.model) resetSliders();
  showValues();
}

function resetSliders() {
  const { neighborhood, threshold, repulsion, steps } = settingsOf(models[state.model]);
  const { ranges, directions, stride } = rangesOf(neighborhood);
  Object.assign($("range"), { min: LEAST_RANGES, max: ladder().length - 1 });
  const values = { threshold, repulsion, range: ranges.length - 1, stride, size: steps.min_size };
  for (const [id, value] of Object.entries(values)) {
    $(id).value = value;
    delete $(id).dataset.moved;
  }
  $(directions === 8 ? "eight" : "four").checked = true;
  $("settings").dataset.model = state.model;
  $("reset").hidden = true;
}

/** The ranges of the model, and longer ones. */
function ladder() {
  const { ranges } = rangesOf(settingsOf(models[state.model]).neighborhood);
  return [...ranges, ...LONGER.filter((range) => range > ranges.at(-1))];
}

/** Say beside each slider what it means in pixels of the image. */
function showValues() {
  if (!state.seen) return;
  const pixels = state.seen.stride / state.seen.scale;
  const every = Number($("stride").value);
  const texts = {
    threshold: Number($("threshold").value).toFixed(2),
    repulsion: Number($("repulsion").value).toFixed(2),
    range: `${Math.round(ladder()[$("range").value] * pixels)} pixels`,
    stride: every === 1 ? "every point" : `every ${every} points`,
    size: `${Math.round($("size").value * pixels ** 2)} pixels`,
  };
  for (const [id, text] of Object.entries(texts)) document.querySelector(`output[for=${id}]`).value = text;
}

/** The settings of the sliders that were moved; all else is the model's, which need not lie on a slider's steps. */
function chosenSettings() {
  const own = settingsOf(models[state.model]);
  const chosen = (id, value) => ("moved" in $(id).dataset ? Number($(id).value) : value);
  const directions = Number(document.querySelector("[name=directions]:checked").value);
  const ranges = ladder().slice(0, Number($("range").value) + 1);
  return {
    neighborhood: fromRanges(ranges, directions, Number($("stride").value)),
    repulsion: chosen("repulsion", own.repulsion),
    threshold: chosen("threshold", own.threshold),
    steps: { ...own.steps, min_size: chosen("size", own.steps.min_size) },
  };
}

async function download(kind) {
  const { bytes } = await ask("file", { kind });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([bytes], { type: TYPES[kind] }));
  link.download = (state.name.replace(/\.[^.]+$/, "") || "image") + SUFFIXES[kind];
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

/** Back to the page as it was opened. */
function another() {
  Object.assign(state, { plane: null, seen: null, found: null, diameter: null });
  $("main").dataset.state = "empty";
  for (const id of ["picture", "panel", "bar", "downloads", "remark"]) $(id).hidden = true;
  $("file").value = "";
  say("");
}

async function openFile(file) {
  if (file && !document.body.inert) await open(new Uint8Array(await file.arrayBuffer()), file.name);
}

// --- what the user does ---------------------------------------------------------------------------------------------

function listen() {
  $("file").addEventListener("change", ({ target }) => openFile(target.files[0]));
  $("sample").addEventListener("click", () => open(bytesOf("sample-image"), "nuclei.tif"));
  $("another").addEventListener("click", another);
  $("settings").addEventListener("input", ({ target }) => {
    target.dataset.moved = "";
    $("reset").hidden = false;
    relabel();
  });
  $("reset").addEventListener("click", () => {
    resetSliders();
    relabel();
  });
  $("view").addEventListener("change", draw);
  $("plane").addEventListener("change", ({ target }) => working("start", () => choose(Number(target.value))));
  $("model").addEventListener("change", ({ target }) => {
    state.model = target.value;
    working("start", see);
  });
  $("diameter").addEventListener("change", ({ target }) => {
    if (!target.checkValidity()) return;
    state.diameter = Number(target.value) || null;
    working("start", see);
  });
  $("downloads").addEventListener("click", ({ target }) => {
    const { kind } = target.closest("button")?.dataset ?? {};
    if (kind) attempt(() => download(kind));
  });
  listenToDrops();
  new ResizeObserver(() => state.plane && draw()).observe($("picture"));
}

function listenToDrops() {
  const over = (isOver) => (event) => {
    event.preventDefault();
    document.body.classList.toggle("over", isOver);
  };
  document.addEventListener("dragover", over(true));
  document.addEventListener("dragleave", over(false));
  document.addEventListener("drop", (event) => {
    over(false)(event);
    openFile(event.dataTransfer.files[0]);
  });
}

$("model").replaceChildren(...Object.keys(models).map((name) => new Option(name, name)));
listen();
