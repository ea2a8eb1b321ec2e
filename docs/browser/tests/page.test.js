/**
 * The page in a browser, opened from a file and offline, as a user has it.
 *
 * CHROMIUM says where the browser is, unless it is /usr/bin/chromium.
 */

import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";

import { decode, encode } from "fast-png";
import { unzipSync } from "fflate";
import { chromium } from "playwright-core";
import { decode as decodeTiff } from "tiff";

import { largest } from "../src/arrays.js";

const PATIENCE = 300000;
const REPOSITORY = new URL("../../../", import.meta.url);
const local = (path) => fileURLToPath(new URL(path, REPOSITORY));
const page = pathToFileURL(local("docs/_browser/browser.html")).href;
const field = local("pixel_embedded_affinity/samples/nuclei.tif");

const requests = [];
let browser;
let tab;

before(async () => {
  const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
  assert.ok(existsSync(executablePath), `${executablePath} is missing; install Chromium, or say by CHROMIUM where it is`);
  browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
  tab = await opened();
});

after(() => browser?.close());

async function opened() {
  const context = await browser.newContext({ acceptDownloads: true, offline: true });
  const fresh = await context.newPage();
  context.on("request", (request) => requests.push(request.url()));
  fresh.on("pageerror", (error) => assert.fail(error));
  await fresh.goto(page);
  return fresh;
}

const count = async () => Number(await tab.textContent("#count"));

/** Do something that begins work, and wait until nothing is in work. */
async function done(begin) {
  await tab.$eval("main", (main) => (main.ariaBusy = null));
  await begin();
  await tab.waitForSelector("main[aria-busy=false]", { timeout: PATIENCE });
}

async function saved(kind) {
  const [download] = await Promise.all([tab.waitForEvent("download"), tab.click(`[data-kind=${kind}]`)]);
  return { name: download.suggestedFilename(), bytes: readFileSync(await download.path()) };
}

async function labels() {
  const { bytes } = await saved("png");
  return decode(bytes);
}

function golden(model) {
  const [first] = decodeTiff(readFileSync(local(`tests/golden/${model}.tif`)));
  return first.data;
}

/** For each object of one label image, the intersection over union with the object of the other that overlaps most. */
function overlaps(one, other) {
  const [areas, others, shared] = [new Map(), new Map(), new Map()];
  const add = (table, key) => table.set(key, (table.get(key) ?? 0) + 1);
  one.forEach((label, at) => {
    if (label) add(areas, label);
    if (other[at]) add(others, other[at]);
    if (label && other[at]) add(shared, `${label} ${other[at]}`);
  });
  const best = new Map([...areas.keys()].map((label) => [label, 0]));
  for (const [key, both] of shared) {
    const [label, partner] = key.split(" ").map(Number);
    best.set(label, Math.max(best.get(label), both / (areas.get(label) + others.get(partner) - both)));
  }
  return [...best.values()];
}

function differing(one, other) {
  return one.reduce((sum, label, at) => sum + (label === other[at] ? 0 : 1), 0);
}

function check(found, expected, model) {
  const [matches, pixels] = [overlaps(expected, found), differing(found, expected)];
  console.log(`${model}: ${matches.length} objects, ${pixels} pixels differ, least overlap ${Math.min(...matches)}`);
  assert.equal(largest(found), largest(expected));
  assert.ok(Math.min(...matches) >= 0.99);
  assert.ok(pixels <= 20);
}

test("the sample has the labels of the library", async () => {
  await done(() => tab.click("#sample"));
  assert.equal(await count(), largest(golden("nuclei-0.5.0")));
  const { data, depth, width, height } = await labels();
  assert.deepEqual([depth, height, width], [16, 520, 696]);
  check(data, golden("nuclei-0.5.0"), "nuclei");
  assert.equal(await tab.inputValue("#diameter"), "28");
});

test("outlines lie over the image", async () => {
  const drawn = () => tab.$eval("#outlines", (canvas) => canvas.toDataURL());
  const lines = await drawn();
  await tab.click("label[for=view-image]");
  const none = await drawn();
  await tab.click("label[for=view-filled]");
  assert.equal(new Set([lines, none, await drawn()]).size, 3);
  await tab.click("label[for=view-lines]");
  assert.equal(await drawn(), lines);
});

test("the image can be zoomed, and fits any screen", async () => {
  const width = () => tab.$eval("#sheet", (sheet) => sheet.clientWidth);
  for (const size of [{ width: 390, height: 844 }, { width: 1280, height: 720 }]) {
    await tab.setViewportSize(size);
    const before = await width();
    assert.ok(before <= size.width);
    assert.ok(await tab.$eval("#sheet", (sheet) => sheet.clientHeight <= 0.81 * innerHeight));
    await tab.click("#sheet", { position: { x: 20, y: 20 } });
    assert.ok(Math.abs((await width()) - 3 * before) <= 3);
    assert.equal(await tab.evaluate(() => document.documentElement.scrollWidth), size.width, "no sideways scrolling");
    await tab.click("#zoom");
    assert.equal(await width(), before);
  }
});

test("sliders cluster again, and a reset brings the first labels back", async () => {
  const first = (await labels()).data;
  const changed = async (what) => assert.notEqual(differing((await labels()).data, first), 0, what);
  for (const [id, value] of [["threshold", 0.9], ["repulsion", 0.3], ["range", 1], ["stride", 8], ["size", 100]]) {
    await done(() => slide(id, value));
    await changed(id);
    await done(() => tab.click("#reset"));
  }
  await done(() => tab.click("label[for=four]"));
  await changed("directions");
  await done(() => tab.click("#reset"));
  assert.equal(differing((await labels()).data, first), 0);
});

async function slide(id, value) {
  await tab.$eval(`#${id}`, (slider, to) => {
    slider.value = to;
    slider.dispatchEvent(new Event("input", { bubbles: true }));
  }, value);
}

test("regions and detections hold all objects", async () => {
  const rois = await saved("rois");
  assert.equal(rois.name, "nuclei_rois.zip");
  assert.equal(Object.keys(unzipSync(rois.bytes)).length, await count());
  const detections = await saved("geojson");
  assert.equal(detections.name, "nuclei_objects.geojson");
  assert.equal(JSON.parse(detections.bytes).features.length, await count());
});

test("an image of smaller objects is seen larger, and its objects are those of the sample", async () => {
  await open("small.png", halved());
  assert.ok(Math.abs((await tab.inputValue("#diameter")) - 14) <= 1);
  const { data, height, width } = await labels();
  assert.deepEqual([height, width], [260, 348]);
  const expected = golden("nuclei-0.5.0").filter((_, at) => at % 2 === 0 && Math.floor(at / 696) % 2 === 0);
  const matches = overlaps(expected, data);
  const share = matches.filter((overlap) => overlap >= 0.7).length / matches.length;
  console.log(`half the size: ${largest(data)} objects, ${(100 * share).toFixed(1)} % of those of the sample`);
  assert.ok(share >= 0.9);
});

/** The field at half its size, as PNG of 8 bits with three equal channels. */
function halved() {
  const [{ data, width }] = decodeTiff(readFileSync(field));
  const small = new Uint8Array(3 * 260 * 348);
  for (let at = 0; at < 260 * 348; at += 1) {
    const first = 2 * Math.floor(at / 348) * width + 2 * (at % 348);
    const sum = data[first] + data[first + 1] + data[first + width] + data[first + width + 1];
    small.fill(Math.min(255, sum / 32), 3 * at, 3 * at + 3);
  }
  return encode({ width: 348, height: 260, data: small, channels: 3 });
}

/** Give the page a file, and wait for what it makes of it. */
async function open(name, bytes) {
  const file = { name, mimeType: "application/octet-stream", buffer: Buffer.from(bytes) };
  await done(() => tab.setInputFiles("#file", file));
}

test("a color image asks for its channel", async () => {
  const data = new Uint8Array(3 * 40 * 50).map((_, at) => (at % 3) * (at % 7) * 10);
  await open("color.png", encode({ width: 50, height: 40, data, channels: 3 }));
  assert.match(await tab.textContent("#message"), /several channels/);
  assert.deepEqual(await tab.$$eval("#plane option", (options) => options.map((one) => one.text)), ["red", "green", "blue"]);
  await done(() => tab.selectOption("#plane", "2"));
});

test("a file that is no image is refused in a sentence", async () => {
  await open("text.txt", "not an image at all");
  assert.match(await tab.textContent("#message"), /no image that a browser can read/);
});

test("after that, the other model has the labels of the library", async () => {
  await done(() => tab.selectOption("#model", "bbbc039-fast"));
  await open("field.tif", readFileSync(field));
  assert.equal(await tab.textContent("#message"), "");
  check((await labels()).data, golden("bbbc039-fast-1.1.0"), "bbbc039-fast");
});

test("nothing was asked of a network, and nothing can be", async () => {
  assert.deepEqual(requests.filter((url) => !url.startsWith("blob:") && url !== page), []);
  const refused = await tab.evaluate(async () => {
    const attempts = {
      fetch: () => fetch("https://example.org/"),
      beacon: async () => {
        if (!navigator.sendBeacon("https://example.org/", "x")) throw new Error("refused");
      },
      socket: () => new Promise((resolve, reject) => {
        const socket = new WebSocket("wss://example.org/");
        socket.onopen = resolve;
        socket.onerror = reject;
      }),
      image: () => new Promise((resolve, reject) => {
        Object.assign(new Image(), { onload: resolve, onerror: reject, src: "https://example.org/a.png" });
      }),
    };
    const violations = [];
    document.addEventListener("securitypolicyviolation", ({ blockedURI, effectiveDirective }) => {
      violations.push(`${effectiveDirective} ${new URL(blockedURI).host}`);
    });
    for (const attempt of Object.values(attempts)) await attempt().catch(() => {});
    await new Promise((resolve) => setTimeout(resolve, 300));
    return violations;
  });
  assert.deepEqual(refused.toSorted(), [...Array(3).fill("connect-src example.org"), "img-src example.org"]);
  const [worker] = tab.workers();
  const inWorker = await worker.evaluate(async () => {
    const violation = new Promise((resolve) => self.addEventListener("securitypolicyviolation", resolve));
    await fetch("https://example.org/").catch(() => {});
    return (await violation).effectiveDirective;
  });
  assert.equal(inWorker, "connect-src");
});
