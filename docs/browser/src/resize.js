/** Resize an image for the network, and its labels back; geometry/scaling.py in the library. */

import { clamp, roundHalfEven } from "./arrays.js";

const TRUNCATE = 4;

/** Shape of a resized image: each axis has at least one pixel. */
export function scaledShape({ height, width }, scale) {
  if (scale === 1) return { height, width };
  return {
    height: Math.max(1, roundHalfEven(height * scale)),
    width: Math.max(1, roundHalfEven(width * scale)),
  };
}

/**
 * Resize an image linearly, smoothed before it shrinks; at scale 1 return the same.
 * @param {import("./arrays.js").Plane} image
 * @param {number} scale
 * @returns {import("./arrays.js").Plane}
 */
export function resizeImage(image, scale) {
  const target = scaledShape(image, scale);
  let result = image;
  result = smoothed(result, sigmaOf(image.height, target.height), "height");
  result = smoothed(result, sigmaOf(image.width, target.width), "width");
  if (target.height !== image.height) result = interpolated(result, target.height, "height");
  if (target.width !== image.width) result = interpolated(result, target.width, "width");
  return result;
}

/** Give labels another shape by the nearest pixel; return them as they are if they have it. */
export function resizeLabels(labels, { height, width }) {
  if (labels.height === height && labels.width === width) return labels;
  const rows = nearest(labels.height, height);
  const columns = nearest(labels.width, width);
  const data = new labels.data.constructor(height * width);
  for (let y = 0; y < height; y += 1) {
    const start = rows[y] * labels.width;
    for (let x = 0; x < width; x += 1) data[y * width + x] = labels.data[start + columns[x]];
  }
  return { data, height, width };
}

function nearest(before, after) {
  return Int32Array.from({ length: after }, (_, i) =>
    Math.min(Math.trunc(((i + 0.5) * before) / after), before - 1),
  );
}

/** Standard deviation of the smoothing that removes detail which a smaller axis cannot hold. */
function sigmaOf(before, after) {
  return Math.max(0, (before / after - 1) / 2);
}

/** Where the values of one axis lie: `step` apart in each of the lines that start at `starts`. */
function linesOf({ height, width }, axis) {
  return axis === "height"
    ? { length: height, step: width, lines: width, start: (line) => line }
    : { length: width, step: 1, lines: height, start: (line) => line * width };
}

/** Smooth along an axis by a Gaussian; beyond the image lies its mirror image. */
function smoothed(image, sigma, axis) {
  if (sigma === 0) return image;
  const radius = Math.ceil(TRUNCATE * sigma);
  const weights = gaussian(sigma, radius);
  const { length, step, lines, start } = linesOf(image, axis);
  const places = mirrored(length, radius);
  const data = new Float32Array(image.data.length);
  for (let line = 0; line < lines; line += 1) {
    const first = start(line);
    for (let i = 0; i < length; i += 1) {
      let sum = image.data[first + i * step] * weights[radius];
      for (let k = radius; k > 0; k -= 1) {
        const before = image.data[first + places[i + radius - k] * step];
        const after = image.data[first + places[i + radius + k] * step];
        sum += (before + after) * weights[radius + k];
      }
      data[first + i * step] = sum;
    }
  }
  return { ...image, data };
}

function gaussian(sigma, radius) {
  const weights = Float64Array.from({ length: 2 * radius + 1 }, (_, i) =>
    Math.exp((-0.5 / (sigma * sigma)) * (i - radius) ** 2),
  );
  const sum = weights.reduce((total, weight) => total + weight, 0);
  return weights.map((weight) => weight / sum);
}

/** For each place of an axis with a margin, the pixel that is there or mirrored there. */
function mirrored(length, margin) {
  const period = Math.max(1, 2 * (length - 1));
  return Int32Array.from({ length: length + 2 * margin }, (_, i) => {
    const place = (((i - margin) % period) + period) % period;
    return place < length ? place : period - place;
  });
}

/** Values between the pixels of one axis, linearly. */
function interpolated(image, target, axis) {
  const shape = { ...image, [axis]: target };
  const from = linesOf(image, axis);
  const to = linesOf(shape, axis);
  const data = new Float32Array(shape.height * shape.width);
  for (let i = 0; i < target; i += 1) {
    const place = clamp(((i + 0.5) * from.length) / target - 0.5, 0, from.length - 1);
    const before = Math.trunc(place);
    const after = Math.min(before + 1, from.length - 1);
    const share = Math.fround(place - before);
    const rest = Math.fround(1 - share);
    for (let line = 0; line < from.lines; line += 1) {
      const first = from.start(line);
      const left = Math.fround(image.data[first + before * from.step] * rest);
      const right = Math.fround(image.data[first + after * from.step] * share);
      data[to.start(line) + i * to.step] = left + right;
    }
  }
  return { data, height: shape.height, width: shape.width };
}
