/** Inputs of the tests, by the same formulas as in make_golden.py. */

import { readFileSync } from "node:fs";

export const { stored, outcomes } = JSON.parse(readFileSync(new URL("golden.json", import.meta.url), "utf-8"));

export const CHANNELS = 3;

/** Numbers in [0, 1) that look random. */
export function noise(seed, count) {
  return Float64Array.from({ length: count }, (_, i) => {
    let x = (i + seed * 7919) >>> 0;
    for (const [shift, factor] of [
      [16, 0x7feb352d],
      [15, 0x846ca68b],
    ]) {
      x = Math.imul(x ^ (x >>> shift), factor) >>> 0;
    }
    return ((x ^ (x >>> 16)) >>> 0) / 2 ** 32;
  });
}

/** An image of integers; every third has an outlier, every fourth a missing part. */
export function image(seed, height, width) {
  const data = Float32Array.from(noise(seed, height * width), (value) => Math.floor(value ** 3 * 4096));
  if (seed % 3 === 0) data[0] = 60000;
  if (seed % 4 === 0) {
    data.forEach((value, at) => (data[at] = value + 40000));
    data.fill(0, 0, Math.floor(height / 3) * width);
  }
  return { data, height, width };
}

/** Small integers that are constant in squares, but for a tenth of the pixels. */
export function blocks(seed, height, width, size = 5, kinds = 6) {
  const columns = Math.ceil(width / size);
  const coarse = noise(seed, Math.ceil(height / size) * columns).map((value) => Math.floor(value * kinds));
  const odd = noise(seed + 1, height * width);
  const data = Int32Array.from(odd, (value, at) => {
    const [y, x] = [Math.floor(at / width), at % width];
    return value < 0.1 ? Math.floor(value * 10 * kinds) : coarse[Math.floor(y / size) * columns + Math.floor(x / size)];
  });
  return { data, height, width };
}

/** An embedding that is alike in squares; without roughness, many vectors are equal. */
export function embedding(seed, height, width, rough) {
  const directions = noise(seed + 2, 100 * CHANNELS);
  const rest = noise(seed + 3, height * width * CHANNELS);
  const vectors = new Float32Array(rest.length);
  blocks(seed, height, width).data.forEach((kind, at) => {
    const found = [...Array(CHANNELS).keys()].map(
      (c) => directions[kind * CHANNELS + c] - 0.4 + rough * (rest[at * CHANNELS + c] - 0.5),
    );
    const length = Math.sqrt(found.reduce((sum, value) => sum + value * value, 0));
    vectors.set(found.map((value) => value / length), at * CHANNELS);
  });
  return { vectors, channels: CHANNELS, height, width };
}

/** A mask that holds all but a share of the pixels. */
export function mask(seed, height, width, share) {
  return Uint8Array.from(noise(seed, height * width), (value) => (value > share ? 1 : 0));
}

/** Labels from text. */
export function unpacked(text) {
  const bytes = Uint8Array.from(Buffer.from(text, "base64"));
  return Array.from(new Uint16Array(bytes.buffer));
}

/** float32 numbers from text. */
export function floats(text) {
  return new Float32Array(Uint8Array.from(Buffer.from(text, "base64")).buffer);
}

/** The largest difference of two lists of numbers of equal length; infinite for lists of different lengths. */
export function difference(one, other) {
  if (one.length !== other.length) return Infinity;
  return one.reduce((most, value, i) => Math.max(most, Math.abs(value - other[i])), 0);
}
