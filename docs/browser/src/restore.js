/** Labels of positions become labels of pixels; geometry/strides.py in the library. */

import { clamp, largest, made } from "./arrays.js";

/** Moves to the eight neighbors, straight ones first. */
const NEIGHBORS = [
  [-1, 0],
  [0, -1],
  [0, 1],
  [1, 0],
  [-1, -1],
  [-1, 1],
  [1, -1],
  [1, 1],
];

/** Where at least half of the pixels of a position are inside; the last pixels are repeated. */
export function positionsInside({ data, height, width }, stride) {
  if (stride === 1) return data;
  const [rows, columns] = [Math.ceil(height / stride), Math.ceil(width / stride)];
  const result = new Uint8Array(rows * columns);
  for (let at = 0; at < result.length; at += 1) {
    const left = (at % columns) * stride;
    const top = Math.floor(at / columns) * stride;
    let count = 0;
    for (let y = top; y < top + stride; y += 1) {
      for (let x = left; x < left + stride; x += 1) {
        count += data[Math.min(y, height - 1) * width + Math.min(x, width - 1)];
      }
    }
    result[at] = 2 * count >= stride * stride ? 1 : 0;
  }
  return result;
}

/** Give the value of each position to its pixels. */
function toPixels(positions, stride, { height, width }) {
  const data = new positions.data.constructor(height * width);
  const columns = made(Int32Array, width, (x) => Math.floor(x / stride));
  for (let y = 0; y < height; y += 1) {
    const row = Math.floor(y / stride) * positions.width;
    for (let x = 0; x < width; x += 1) data[y * width + x] = positions.data[row + columns[x]];
  }
  return { data, height, width };
}

/**
 * Give the labels of positions to their pixels inside the foreground; foreground beside a label takes that label.
 * @param {import("./arrays.js").Labels} labels of positions
 * @param {{data: Uint8Array, height: number, width: number}} foreground of pixels
 * @param {number} stride
 * @returns {import("./arrays.js").Labels}
 */
export function spread(labels, foreground, stride) {
  const result = toPixels(labels, stride, foreground);
  const data = made(Int32Array, result.data.length, (at) => (foreground.data[at] ? result.data[at] : 0));
  for (let time = 0; time < stride; time += 1) fillOnce({ ...result, data }, foreground.data);
  return { ...result, data };
}

function fillOnce(labels, foreground) {
  const before = labels.data.slice();
  for (let at = 0; at < before.length; at += 1) {
    if (foreground[at] && before[at] === 0) labels.data[at] = besideIn(before, at, labels);
  }
}

/** The label of the first neighbor that has one. */
function besideIn(data, at, { height, width }) {
  const [y, x] = [Math.floor(at / width), at % width];
  for (const [down, right] of NEIGHBORS) {
    const [row, column] = [y + down, x + right];
    if (row < 0 || column < 0 || row >= height || column >= width) continue;
    if (data[row * width + column]) return data[row * width + column];
  }
  return 0;
}

/**
 * Place the borders between touching objects to the pixel, by the embedding between the positions.
 * @param {import("./arrays.js").Labels} pixels from `spread`
 * @param {import("./arrays.js").Labels} positions
 * @param {import("./mutex.js").Embedding} embedding
 * @param {number} stride
 * @returns {import("./arrays.js").Labels}
 */
export function bordersPlaced(pixels, positions, embedding, stride) {
  const near = toPixels({ ...positions, data: besideOthers(positions) }, stride, pixels).data;
  const means = meansOf(positions, embedding);
  const data = pixels.data.slice();
  for (let at = 0; at < data.length; at += 1) {
    if (near[at] && data[at] > 0) {
      const [y, x] = [Math.floor(at / pixels.width), at % pixels.width];
      data[at] = mostAlike(y, x, data[at], positions, embedding, means, stride);
    }
  }
  return { ...pixels, data };
}

/** Whether a position and its neighbors belong to several objects. */
function besideOthers({ data, height, width }) {
  const result = new Uint8Array(data.length);
  for (let at = 0; at < data.length; at += 1) {
    const x = at % width;
    const y = (at - x) / width;
    let found = 0;
    for (let row = Math.max(y - 1, 0); row <= Math.min(y + 1, height - 1); row += 1) {
      for (let column = Math.max(x - 1, 0); column <= Math.min(x + 1, width - 1); column += 1) {
        const label = data[row * width + column];
        if (label && found && label !== found) result[at] = 1;
        found = label || found;
      }
    }
  }
  return result;
}

/** Mean vector of each label, of unit length. */
function meansOf({ data }, { vectors, channels }) {
  const sums = new Float64Array((largest(data) + 1) * channels);
  for (let at = 0; at < data.length; at += 1) {
    if (data[at] === 0) continue;
    for (let c = 0; c < channels; c += 1) sums[data[at] * channels + c] += vectors[at * channels + c];
  }
  for (let start = 0; start < sums.length; start += channels) {
    const length = Math.hypot(...sums.subarray(start, start + channels));
    for (let c = 0; c < channels; c += 1) sums[start + c] /= Math.max(length, 1e-12);
  }
  return Float32Array.from(sums);
}

function mostAlike(y, x, label, positions, embedding, means, stride) {
  const here = vectorBetween(y, x, embedding, stride);
  let [best, chosen] = [-2, label];
  for (const [down, right] of [[0, 0], ...NEIGHBORS]) {
    const row = clamp(Math.floor(y / stride) + down, 0, positions.height - 1);
    const column = clamp(Math.floor(x / stride) + right, 0, positions.width - 1);
    const other = positions.data[row * positions.width + column];
    const similarity = other > 0 ? dot(means, other * here.length, here) : -2;
    if (similarity > best) [best, chosen] = [similarity, other];
  }
  return chosen;
}

function dot(values, start, vector) {
  let sum = 0;
  for (let c = 0; c < vector.length; c += 1) sum += values[start + c] * vector[c];
  return Math.fround(sum);
}

/** The vector at a pixel, interpolated linearly between the centers of the positions. */
function vectorBetween(y, x, { vectors, channels, height, width }, stride) {
  const rows = cornersOf(y, stride, height);
  const columns = cornersOf(x, stride, width);
  const found = new Float32Array(channels);
  for (const [row, down] of rows) {
    for (const [column, right] of columns) {
      const share = Math.fround(down * right);
      const start = (row * width + column) * channels;
      for (let c = 0; c < channels; c += 1) found[c] += Math.fround(share * vectors[start + c]);
    }
  }
  return found;
}

/** The two positions around a pixel along an axis, and the share of each. */
function cornersOf(pixel, stride, length) {
  const place = clamp((pixel + 0.5) / stride - 0.5, 0, length - 1);
  const before = Math.trunc(place);
  const after = place - before;
  return [
    [before, 1 - after],
    [Math.min(before + 1, length - 1), after],
  ];
}
