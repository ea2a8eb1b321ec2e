/** Each step gives what the library gives; golden.json holds what that is. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { decode } from "fast-png";
import { unzipSync } from "fflate";

import { relabel } from "../src/arrays.js";
import { objectConfidence } from "../src/confidence.js";
import { geojson, imagejRois, labelsPng, region } from "../src/downloads.js";
import { cluster, heaviestFirst } from "../src/mutex.js";
import { fromRanges, rangesOf } from "../src/neighborhood.js";
import { channelsLast, Network, tileLine } from "../src/network.js";
import { normalize } from "../src/normalize.js";
import { polygonsOf } from "../src/polygons.js";
import { postprocess } from "../src/postprocess.js";
import { resizeImage, resizeLabels } from "../src/resize.js";
import { bordersPlaced, spread } from "../src/restore.js";
import { blobDiameter } from "../src/blobs.js";
import { windowFor } from "../src/scale.js";
import { labelsOf, settingsOf } from "../src/segment.js";
import { blocks, difference, embedding, floats, image, mask, noise, outcomes, stored, unpacked } from "./inputs.js";

const labelsEqual = ({ data }, text, what) => assert.deepEqual(Array.from(data), unpacked(text), what);

test("the inputs are those of the library", () => {
  assert.deepEqual(Array.from(noise(5, 4)), outcomes.noise);
});

test("a part of the bundled field has the labels of the library, with any settings", () => {
  const [height, width] = stored.shape;
  const values = floats(stored.embedding);
  const channels = (4 * values.length) / (height * width);
  const vectors = channelsLast(values, channels);
  const seen = {
    embedding: { vectors, channels, height: height / 2, width: width / 2 },
    foreground: { data: floats(stored.foreground), height, width },
    stride: 2,
    image: { height, width },
  };
  const different = new Set();
  for (const { change, labels } of outcomes.crop) {
    labelsEqual(labelsOf(seen, settingsWith(change)), labels, JSON.stringify(change));
    different.add(labels);
  }
  assert.equal(different.size, outcomes.crop.length, "every setting matters");
});

function settingsWith({ ranges, directions, stride, min_size: size, ...rest }) {
  const own = settingsOf(stored.config);
  const neighborhood = ranges ? fromRanges(ranges, directions, stride) : own.neighborhood;
  const steps = size === undefined ? own.steps : { ...own.steps, min_size: size };
  return { ...own, ...rest, neighborhood, steps };
}

for (const { seed, normalization, contrast, values } of outcomes.normalize) {
  test(`image ${seed} is normalized`, () => {
    const found = normalize(image(seed, 24, 31), normalization, contrast);
    assert.ok(difference(found.data, floats(values)) <= 1e-6);
  });
}

for (const { case: given, shape, values, labels } of outcomes.resize) {
  test(`images and labels are resized: ${given}`, () => {
    const [seed, height, width, scale] = given;
    const found = resizeImage(image(seed, height, width), scale);
    assert.deepEqual([found.height, found.width], shape);
    assert.ok(difference(found.data, floats(values)) <= 0.01, "of 60000");
    labelsEqual(resizeLabels(blocks(seed, ...shape), { height, width }), labels);
  });
}

for (const { directions, ...expected } of outcomes.neighborhood) {
  test(`ranges in ${directions} directions are offsets, and back`, () => {
    const found = fromRanges([1, 3, 8], directions, 4);
    assert.deepEqual(found, expected);
    assert.deepEqual(rangesOf(found), { ranges: [1, 3, 8], directions, stride: 4 });
    assert.equal(rangesOf({ ...found, attractive: found.attractive.map(() => true) }), null);
  });
}

for (const { case: given, labels, confidence } of outcomes.cluster) {
  test(`vectors are clustered: ${given}`, () => {
    const [seed, height, width, rough, ranges, directions, stride, repulsion] = given;
    const vectors = embedding(seed, height, width, rough);
    const neighborhood = fromRanges(ranges, directions, stride);
    const found = cluster(vectors, neighborhood, repulsion, mask(seed + 9, height, width, 0.1));
    labelsEqual(found, labels);
    assert.ok(difference(objectConfidence(found, vectors, neighborhood), confidence) <= 1e-6);
  });
}

test("weights are ordered, and equal ones keep their order", () => {
  const alike = noise(4, 500).map((value) => 1 + Math.floor(value * 100) * 2 ** -23);
  const weights = Float32Array.from([...noise(3, 5000).map((value) => Math.floor(value * 300) / 200), ...alike]);
  const expected = [...weights.keys()].sort((one, other) => weights[other] - weights[one] || one - other);
  assert.deepEqual(Array.from(heaviestFirst(weights)), expected);
});

for (const { seed, steps, labels } of outcomes.postprocess) {
  test(`labels ${seed} are postprocessed`, () => {
    const found = postprocess(blocks(seed, 21, 26, 4, seed % 2 ? 9 : 200), steps, () => assert.fail("nothing needs confidences"));
    labelsEqual(found, labels);
  });
}

test("objects without confidence go, and all of them if they look like noise", () => {
  const labels = relabel(blocks(2, 21, 26, 4, 9));
  const count = Math.max(...labels.data);
  const steps = { merge_sizes: [], min_size: 0, fill_holes: false, clear_border: false };
  const measure = () => Float64Array.from({ length: count }, (_, i) => (i === 0 ? 0.1 : 0.5));
  const kept = postprocess(labels, { ...steps, min_confidence: 0.2, noise_floor: 0.3 }, measure);
  assert.equal(Math.max(...kept.data), count - 1);
  const none = postprocess(labels, { ...steps, min_confidence: 0, noise_floor: 0.6 }, measure);
  assert.equal(Math.max(...none.data), 0);
});

for (const { case: given, spread: pixels, placed } of outcomes.restore) {
  test(`labels of positions become labels of pixels: ${given}`, () => {
    const [seed, height, width, stride] = given;
    const positions = blocks(seed, Math.ceil(height / stride), Math.ceil(width / stride), 4, 4);
    const found = spread(positions, { data: mask(seed + 5, height, width, 0.2), height, width }, stride);
    labelsEqual(found, pixels);
    const vectors = embedding(seed, positions.height, positions.width, 0.5);
    labelsEqual(bordersPlaced(found, positions, vectors, stride), placed);
  });
}

for (const { case: given, diameter } of outcomes.blobs) {
  test(`blobs are measured: ${given}`, () => {
    const [seed, height, width, size] = given;
    const { data } = blocks(seed, height, width, size, 3);
    const found = blobDiameter({ data: Float32Array.from(data), height, width });
    assert.ok(found === diameter || Math.abs(found - diameter) <= 1e-6 * diameter, `${found}, expected ${diameter}`);
  });
}

for (const { seed, box } of outcomes.window) {
  test(`the next look goes where objects are: ${seed}`, () => {
    const labels = blocks(seed, 30 + seed, 44, 5, 3);
    const interest = { ...labels, data: Float32Array.from(labels.data, (label) => (label === 1 ? 1 : 0)) };
    const whole = { top: 10, left: 20, bottom: 10 + 9 * (30 + seed), right: 420 };
    const found = windowFor(interest, whole, 0.4 + 0.2 * seed);
    assert.deepEqual([found.top, found.left, found.bottom, found.right], box);
  });
}

for (const { length, tiles } of outcomes.tiles) {
  test(`${length} pixels are cut into tiles`, () => {
    assert.deepEqual(tileLine(length, 1024, 128, 32), tiles);
  });
}

test("an image in tiles gives what the whole gives", async () => {
  const given = image(1, 1301, 1170);
  const run = async (part) => pixelwise(part);
  const network = new Network(run);
  const [whole, tiled] = [await run(given), await network.embed(given)];
  assert.deepEqual(tiled.foreground, whole.foreground);
  assert.deepEqual(tiled.embedding, whole.embedding);
});

/** What a network would give that looks at each pixel alone. */
function pixelwise({ data, height, width }) {
  const [rows, columns] = [Math.ceil(height / 2), Math.ceil(width / 2)];
  const vectors = new Float32Array(rows * columns * 2);
  for (let at = 0; at < rows * columns; at += 1) {
    const value = data[2 * Math.floor(at / columns) * width + 2 * (at % columns)];
    vectors.set([value, -value], 2 * at);
  }
  const foreground = { data: data.map((value) => value / 4096), height, width };
  return { embedding: { vectors, channels: 2, height: rows, width: columns }, foreground, stride: 2 };
}

for (const { seed, rings, regions } of outcomes.polygons) {
  test(`objects ${seed} are traced and written`, () => {
    const labels = blocks(seed, 14, 17, 3, seed % 2 ? 4 : 200);
    assert.deepEqual([...polygonsOf(labels)], rings);
    const files = unzipSync(imagejRois(labels));
    assert.deepEqual(Object.keys(files), Object.keys(regions));
    for (const [name, content] of Object.entries(regions)) {
      assert.equal(Buffer.from(files[name]).toString("base64"), content, name);
    }
    const features = JSON.parse(new TextDecoder().decode(geojson(labels))).features;
    assert.deepEqual(features.map(({ properties }) => Number(properties.name)), rings.map(([label]) => label));
    for (const [i, { geometry }] of features.entries()) {
      const pieces = geometry.type === "Polygon" ? [geometry.coordinates] : geometry.coordinates;
      const corners = pieces.map((piece) => piece.map((ring) => ring.slice(0, -1).map(([x, y]) => [y, x])));
      assert.deepEqual(corners, rings[i][1]);
      for (const ring of pieces.flat()) assert.deepEqual(ring.at(-1), ring[0]);
    }
  });
}

test("labels are written as PNG of 16 bits", () => {
  const labels = relabel({ data: Int32Array.from({ length: 70 * 80 }, (_, at) => at), height: 70, width: 80 });
  const found = decode(labelsPng(labels));
  assert.deepEqual([found.height, found.width, found.depth, found.channels], [70, 80, 16, 1]);
  assert.deepEqual(Array.from(found.data), Array.from(labels.data));
  const many = { data: Int32Array.of(65536), height: 1, width: 1 };
  assert.throws(() => labelsPng(many), /65535/);
});

test("regions of ImageJ are refused where their numbers end", () => {
  assert.throws(() => imagejRois({ data: new Int32Array(40000), height: 1, width: 40000 }), /32767/);
  assert.equal(region("1", [[[0, 0], [0, 1], [1, 1], [1, 0]]]).length, 64 + 16 + 64 + 2);
});
