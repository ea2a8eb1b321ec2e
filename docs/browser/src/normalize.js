/** Intensities become network input, by statistics of the whole image; normalize.py in the library. */

import { median32 } from "./arrays.js";

const SPREADS = 6;
const FAINT = 0.1;
const FAR = 2;
const TENTHS = 10;
const GAMMAS = [0.4, 2.5];

/**
 * Normalize an image of one channel.
 * @param {import("./arrays.js").Plane} image
 * @param {{kind: string, lower: number, upper: number, clip: ?number[], mean: number[], std: number[],
 *   gamma: number}} normalization
 * @param {{outlier_factor: number, min_contrast: number, skip_missing: boolean, median_brightness: ?number[]}} contrast
 * @returns {import("./arrays.js").Plane}
 */
export function normalize(image, normalization, contrast) {
  const result = bent(scaled(image, normalization, contrast), normalization.gamma ?? 1);
  if (normalization.clip) {
    const [low, high] = normalization.clip;
    for (let i = 0; i < result.length; i += 1) result[i] = Math.min(Math.max(result[i], low), high);
  }
  return { ...image, data: result };
}

function scaled(image, normalization, contrast) {
  if (normalization.kind === "percentile") return byPercentiles(image, normalization, contrast);
  if (normalization.kind === "none") return image.data.slice();
  const [mean, std] = [Math.fround(normalization.mean[0]), Math.fround(normalization.std[0])];
  return image.data.map((value) => Math.fround(value - mean) / std);
}

function byPercentiles(image, normalization, contrast) {
  const { low, high, top, bottom } = stretchOf(image, normalization, contrast);
  const span = Math.fround(high - low);
  if (span === 0) return new Float32Array(image.data.length);
  const [least, most] = [bottom ?? -Infinity, Math.fround(top ?? Infinity)];
  const ground = Math.fround(low);
  const result = image.data.map((value) => Math.fround(Math.max(Math.min(value, most), least) - ground) / span);
  return bent(result, gammaOf(image.data, low, high, contrast.median_brightness));
}

/** Bend values by a gamma curve; negative values are bent like positive ones. */
function bent(values, gamma) {
  return gamma === 1 ? values : values.map((value) => Math.sign(value) * Math.abs(value) ** gamma);
}

/** The exponent that brings the median of the values between two others within bounds. */
function gammaOf(values, low, high, bounds) {
  const between = bounds ? values.filter((value) => value > low && value < high) : [];
  if (between.length === 0) return 1;
  const median = (median32(between) - low) / (high - low);
  const wanted = Math.min(Math.max(median, bounds[0]), bounds[1]);
  return Math.min(Math.max(Math.log(wanted) / Math.log(median), GAMMAS[0]), GAMMAS[1]);
}

/**
 * Values of an image that become 0 and 1, and the highest and the lowest value that are kept.
 * @returns {{low: number, high: number, top: ?number, bottom: ?number}}
 */
export function stretchOf(image, { lower, upper }, contrast) {
  let ordered = image.data.slice().sort();
  let bottom = null;
  const rest = contrast.skip_missing ? withoutMissing(image, ordered, lower, upper) : null;
  if (rest) [ordered, bottom] = [rest, rest[0]];
  const low = percentile(ordered, lower);
  const high = percentile(ordered, upper);
  const limit = outlierLimit(ordered, low, high, contrast.outlier_factor);
  if (limit === null || high <= limit) {
    return { low, high: Math.max(high, low + contrast.min_contrast), top: null, bottom };
  }
  const others = ordered.subarray(0, countUpTo(ordered, Math.fround(limit)));
  return { low, high: Math.max(percentile(others, upper), low + contrast.min_contrast), top: limit, bottom };
}

/** A percentile of ordered values, interpolated linearly. */
function percentile(ordered, share) {
  const rank = Math.round(((ordered.length - 1) * share * 1e6) / 100) / 1e6;
  const below = Math.floor(rank);
  if (below === rank) return ordered[below];
  return ordered[below] + (rank - below) * (ordered[below + 1] - ordered[below]);
}

/** How many of the ordered values are at most a limit. */
function countUpTo(ordered, limit) {
  let [first, end] = [0, ordered.length];
  while (first < end) {
    const middle = (first + end) >> 1;
    if (ordered[middle] <= limit) first = middle + 1;
    else end = middle;
  }
  return first;
}

function orderedMedian(ordered) {
  const half = ordered.length >> 1;
  if (ordered.length % 2 === 1) return ordered[half];
  return Math.fround(Math.fround(ordered[half - 1] + ordered[half]) / 2);
}

/** The brightest value that is no outlier; null where there is no limit, or no object. */
function outlierLimit(ordered, low, high, factor) {
  if (factor === 0) return null;
  const middle = orderedMedian(ordered);
  const spread = 1.4826 * median32(ordered.map((value) => Math.abs(value - middle)));
  const above = SPREADS * spread || FAINT * (high - low);
  const bright = ordered.subarray(countUpTo(ordered, Math.fround(middle + above)));
  if (bright.length === 0) return null;
  return low + factor * (orderedMedian(bright) - low);
}

/** The ordered values of the pixels that are not missing; null where no part of the image is missing. */
function withoutMissing(image, ordered, lower, upper) {
  const darkest = ordered[0];
  const count = countUpTo(ordered, darkest);
  const share = count / ordered.length;
  if (!(share > lower / 100 && share < 1)) return null;
  const rest = ordered.subarray(count);
  const [low, high] = [percentile(rest, lower), percentile(rest, upper)];
  const ground = orderedMedian(rest) - low;
  if (low - darkest <= FAR * ground || 4 * ground >= high - low) return null;
  return hasStraightEdges(image, darkest) ? rest : null;
}

/** Whether nine tenths of the edges of the pixels of a value run straight for a tenth of the image. */
function hasStraightEdges({ data, height, width }, value) {
  const across = edgesOf(data, value, height, width, width, 1);
  const down = edgesOf(data, value, width, height, 1, width);
  return across.straight + down.straight >= 0.9 * (across.total + down.total);
}

/** Lengths of edges between neighboring lines, all and those of straight ones. */
function edgesOf(data, value, lines, length, lineStep, step) {
  let [total, straight] = [0, 0];
  const isEdge = (at) => (data[at] === value) !== (data[at + lineStep] === value);
  for (let line = 0; line < lines - 1; line += 1) {
    let run = 0;
    for (let i = 0; i <= length; i += 1) {
      if (i < length && isEdge(line * lineStep + i * step)) run += 1;
      else {
        total += run;
        if (run * TENTHS >= length) straight += run;
        run = 0;
      }
    }
  }
  return { total, straight };
}
