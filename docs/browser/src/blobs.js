/** The diameter of blobs in an image, estimated without a model; geometry/blobs.py in the library. */

import { mean } from "./arrays.js";
import { resizeImage } from "./resize.js";

const SIDE = 192;
const PEAK = 2; // pixels on either side of the center of a blob
const THIN = 1.2;
const FEW = 3;
const ROUNDS = 20;
const CLOSE = 1e-4;

/**
 * Estimate the diameter of the blobs in an image.
 * @param {import("./arrays.js").Plane} image
 * @returns {number | null} in pixels; null if there are fewer than three blobs
 */
export function blobDiameter(image) {
  const sides = [image.height, image.width];
  const scale = Math.max(Math.min(1, SIDE / Math.max(...sides)), 1 / Math.min(...sides));
  const small = smoothed(resizeImage(image, scale));
  const depth = depths(smallerPart(small.data), small);
  const radii = depth.filter((value, at) => value >= THIN && isCenter(depth, at, small)).sort();
  if (radii.length < FEW) return null;
  const whole = radii.reduce((sum, radius) => sum + radius * radius, 0);
  let area = 0;
  const middle = radii.find((radius) => (area += radius * radius) >= whole / 2);
  return (2 * middle) / scale;
}

/** Mean over squares of 3 x 3 pixels; beyond the image lies its mirror image. */
function smoothed({ data, height, width }) {
  const rows = data.map((_, at) => around(data, at, Math.floor(at / width), height, width));
  return { data: rows.map((_, at) => around(rows, at, at % width, width, 1)), height, width };
}

function around(data, at, place, length, step) {
  const before = place > 0 ? data[at - step] : data[at];
  const after = place < length - 1 ? data[at + step] : data[at];
  return (before + data[at] + after) / 3;
}

/** Part the image halfway between the means of both sides; 1 in the smaller part. */
function smallerPart(values) {
  let threshold = mean(values);
  const [least, most] = [Math.min, Math.max].map((chosen) => values.reduce((one, other) => chosen(one, other)));
  const close = CLOSE * (most - least);
  for (let round = 0; round < ROUNDS; round += 1) {
    const above = values.filter((value) => value > threshold);
    if (!above.length || above.length === values.length) break;
    const below = values.filter((value) => value <= threshold);
    const middle = (mean(above) + mean(below)) / 2;
    if (Math.abs(middle - threshold) <= close) break;
    threshold = middle;
  }
  const inside = Uint8Array.from(values, (value) => (value > threshold ? 1 : 0));
  const count = inside.reduce((sum, one) => sum + one, 0);
  return count > inside.length / 2 ? inside.map((one) => 1 - one) : inside;
}

/** Distance of each pixel of a part to the nearest pixel outside it. */
function depths(inside, { height, width }) {
  const far = height + width;
  const across = new Float64Array(inside.length); // distance within the row
  for (let y = 0; y < height; y += 1) {
    let left = far;
    let right = far;
    for (let x = 0; x < width; x += 1) {
      left = inside[y * width + x] ? left + 1 : 0;
      across[y * width + x] = left;
    }
    for (let x = width - 1; x >= 0; x -= 1) {
      right = inside[y * width + x] ? right + 1 : 0;
      across[y * width + x] = Math.min(across[y * width + x], right);
    }
  }
  return across.map((distance, at) => {
    if (!distance) return 0;
    const y = Math.floor(at / width);
    let best = distance * distance;
    for (let step = 1; step * step < best; step += 1) {
      for (const row of [y - step, y + step]) {
        if (row < 0 || row >= height) continue;
        best = Math.min(best, step * step + across[at + (row - y) * width] ** 2);
      }
    }
    return Math.sqrt(best);
  });
}

/** Whether no pixel in the square around a place lies deeper. */
function isCenter(depth, at, { height, width }) {
  const [y, x] = [Math.floor(at / width), at % width];
  for (let row = Math.max(0, y - PEAK); row <= Math.min(height - 1, y + PEAK); row += 1) {
    for (let column = Math.max(0, x - PEAK); column <= Math.min(width - 1, x + PEAK); column += 1) {
      if (depth[row * width + column] > depth[at]) return false;
    }
  }
  return true;
}
