/**
 * Planes, labels and the arithmetic that all steps share. A plane is `{data, height, width}`, its pixels in C order.
 *
 * Every file beside this one does what the Python file of the same step does, number for number: see docs/architecture.rst.
 */

/** @typedef {{data: Float32Array, height: number, width: number}} Plane */
/** @typedef {{data: Int32Array, height: number, width: number}} Labels 0 = background, objects 1..n */
/** @typedef {{top: number, left: number, bottom: number, right: number}} Box ends are exclusive */

/** Round to the nearest integer, halves to the even one, as Python does. */
export function roundHalfEven(value) {
  const low = Math.floor(value);
  const share = value - low;
  if (share !== 0.5) return Math.round(value);
  return low % 2 === 0 ? low : low + 1;
}

/** Bring a number into an interval. */
export function clamp(value, least, most) {
  return Math.min(Math.max(value, least), most);
}

/** A typed array of values that follow from their places; many times faster than `from`. */
export function made(Type, length, value) {
  const result = new Type(length);
  for (let at = 0; at < length; at += 1) result[at] = value(at);
  return result;
}

/** Median as NumPy gives it for float32: the mean of the two middle values. */
export function median32(values) {
  const ordered = Float32Array.from(values).sort();
  const half = ordered.length >> 1;
  if (ordered.length % 2 === 1) return ordered[half];
  return Math.fround(Math.fround(ordered[half - 1] + ordered[half]) / 2);
}

/** Median in double precision; NaN of nothing. */
export function median(values) {
  const ordered = Float64Array.from(values).sort();
  const half = ordered.length >> 1;
  return ordered.length % 2 === 1 ? ordered[half] : (ordered[half - 1] + ordered[half]) / 2;
}

/** Mean in double precision; 0 of nothing. */
export function mean(values) {
  let sum = 0;
  for (const value of values) sum += value;
  return values.length ? sum / values.length : 0;
}

/** Largest of integers that are at least 0. */
export function largest(values) {
  let most = 0;
  for (const value of values) if (value > most) most = value;
  return most;
}

/** Pixels of each label, the background included. */
export function bincount(values, length = largest(values) + 1) {
  const counts = new Float64Array(length);
  for (const value of values) counts[value] += 1;
  return counts;
}

/** A part of a plane, as a copy. */
export function cropped({ data, width }, { top, left, bottom, right }) {
  const height = bottom - top;
  const part = new data.constructor(height * (right - left));
  for (let row = 0; row < height; row += 1) {
    const start = (top + row) * width;
    part.set(data.subarray(start + left, start + right), row * (right - left));
  }
  return { data: part, height, width: right - left };
}

/** Number objects anew: consecutive from 1, in the order of their first pixels. */
export function relabel({ data, height, width }) {
  const numbers = new Map([[0, 0]]);
  const result = new Int32Array(data.length);
  let last = 0;
  let number = 0;
  for (let pixel = 0; pixel < data.length; pixel += 1) {
    if (data[pixel] !== last) {
      last = data[pixel];
      number = numbers.get(last);
      if (number === undefined) numbers.set(last, (number = numbers.size));
    }
    result[pixel] = number;
  }
  return { data: result, height, width };
}
