/** Image files become planes of numbers, without loss or not at all. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { encode } from "fast-png";

import { readImage } from "../src/read.js";
import { image, stored } from "./inputs.js";

const { data: values } = image(1, 5, 7);
const file = (name) => Uint8Array.from(Buffer.from(stored.files[name], "base64"));
const png = (data, channels, depth = 8) => encode({ width: 7, height: 5, data, channels, depth });

/** A list of colors from a gray value, pixel after pixel. */
const colors = (Type, ...channels) => Type.from([...values].flatMap((value) => channels.map((color) => color(value))));

async function planesOf(bytes) {
  const { height, width, planes, note } = await readImage(bytes);
  assert.deepEqual([height, width], [5, 7]);
  const found = planes.map(({ name, plane }) => ({ name, ...plane() }));
  for (const plane of found) assert.ok(plane.data instanceof Float32Array);
  return { note, names: found.map(({ name }) => name), planes: found.map(({ data }) => Array.from(data)) };
}

for (const name of ["plain", "deflate", "big-endian", "float"]) {
  test(`a TIFF is read: ${name}`, async () => {
    assert.deepEqual(await planesOf(file(name)), { note: "", names: [""], planes: [Array.from(values)] });
  });
}

test("of a stack, every page can be chosen", async () => {
  const { note, names, planes } = await planesOf(file("imagej-stack"));
  assert.match(note, /3 pages/);
  assert.deepEqual(names, ["page 1", "page 2", "page 3"]);
  assert.deepEqual(planes, [0, 1, 2].map((more) => Array.from(values, (value) => value + more)));
});

test("of a color image, every channel can be chosen", async () => {
  const { note, names, planes } = await planesOf(file("color"));
  assert.match(note, /several channels/);
  assert.deepEqual(names, ["red", "green", "blue"]);
  assert.deepEqual(planes, [16, 32, 64].map((share) => Array.from(values, (value) => Math.floor(value / share))));
});

test("a PNG of 16 bits keeps them", async () => {
  const found = await planesOf(png(Uint16Array.from(values), 1, 16));
  assert.deepEqual(found, { note: "", names: [""], planes: [Array.from(values)] });
});

test("a PNG of three equal channels is gray, with and without alpha", async () => {
  const gray = (value) => Math.floor(value / 16);
  const expected = { note: "", names: [""], planes: [Array.from(values, gray)] };
  assert.deepEqual(await planesOf(png(colors(Uint8Array, gray, gray, gray), 3)), expected);
  assert.deepEqual(await planesOf(png(colors(Uint8Array, gray, gray, gray, () => 9), 4)), expected);
  assert.deepEqual(await planesOf(png(colors(Uint8Array, gray, () => 200), 2)), expected);
});

test("what cannot be read is refused with what to do", async () => {
  await assert.rejects(readImage(file("plain").subarray(0, 40)), /This TIFF cannot be read here .* or as PNG/);
  const broken = file("float");
  new Float32Array(broken.buffer, broken.length - 4 * 35).fill(NaN);
  const { planes } = await readImage(broken);
  assert.throws(() => planes[0].plane(), /values that are no numbers/);
});
