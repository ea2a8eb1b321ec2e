/** Merge fragments, drop specks, fill holes, clear the border; postprocess.py in the library. */

import { bincount, largest, made, median, relabel } from "./arrays.js";

const FEW = 5;

/**
 * Apply the steps of a model to labels.
 * @param {import("./arrays.js").Labels} labels
 * @param {object} steps the table `postprocess` of a model's configuration
 * @param {(labels: import("./arrays.js").Labels) => Float64Array} measure gives the confidence of each object
 * @returns {import("./arrays.js").Labels}
 */
export function postprocess(labels, steps, measure) {
  let result = mergeFragments(relabel(labels), steps.merge_sizes);
  if (steps.min_size) result = removeSmall(result, steps.min_size);
  if (steps.fill_holes) result = fillHoles(result);
  if (steps.clear_border) result = clearBorder(result);
  if (steps.min_confidence > 0 || steps.noise_floor > 0) {
    result = removeUncertain(result, measure(result), steps.min_confidence, steps.noise_floor);
  }
  return result;
}

/** Turn objects with fewer pixels into background. */
export function removeSmall(labels, minSize) {
  const areas = bincount(labels.data);
  return keptOnly(labels, (label) => areas[label] >= minSize);
}

/** Turn objects that touch the border of the image into background. */
export function clearBorder(labels) {
  const { data, height, width } = labels;
  const touching = new Set();
  for (let x = 0; x < width; x += 1) touching.add(data[x]).add(data[(height - 1) * width + x]);
  for (let y = 0; y < height; y += 1) touching.add(data[y * width]).add(data[y * width + width - 1]);
  return keptOnly(labels, (label) => !touching.has(label));
}

/** Turn objects of little confidence into background, and all of them if they look like noise. */
export function removeUncertain(labels, confidence, least, floor) {
  if (confidence.length > FEW && median(confidence) < floor) return keptOnly(labels, () => false);
  return keptOnly(labels, (label) => confidence[label - 1] >= least);
}

function keptOnly({ data, height, width }, keep) {
  const table = Uint8Array.from({ length: largest(data) + 1 }, (_, label) => (label > 0 && keep(label) ? 1 : 0));
  return relabel({ data: made(Int32Array, data.length, (at) => (table[data[at]] ? data[at] : 0)), height, width });
}

/** Merge objects smaller than each size into the neighbor with the longest common border, one pass per size. */
export function mergeFragments(labels, sizes) {
  let areas = bincount(labels.data);
  areas[0] = 0;
  const count = areas.length;
  let borders = objectBorders(labels, count);
  let target = Int32Array.from({ length: count }, (_, label) => label);
  for (const size of sizes) {
    const moved = mergePass(areas, borders, size);
    const joined = new Float64Array(count);
    areas.forEach((area, label) => (joined[moved[label]] += area));
    areas = joined;
    borders = summed(borders.map(([one, other, length]) => [moved[one], moved[other], length]), count);
    target = target.map((label) => moved[label]);
  }
  return relabel({ ...labels, data: made(Int32Array, labels.data.length, (at) => target[labels.data[at]]) });
}

/** Touching objects, `[smaller label, larger label, pairs of pixels that they share]`. */
function objectBorders({ data, width }, count) {
  const found = [];
  const add = (one, other) => {
    if (one !== other && one > 0 && other > 0) found.push([one, other, 1]);
  };
  for (let at = 0; at + width < data.length; at += 1) add(data[at], data[at + width]);
  for (let at = 0; at + 1 < data.length; at += 1) if ((at + 1) % width) add(data[at], data[at + 1]);
  return summed(found, count);
}

function summed(borders, count) {
  const lengths = new Map();
  for (const [one, other, length] of borders) {
    if (one === other) continue;
    const key = Math.min(one, other) * count + Math.max(one, other);
    lengths.set(key, (lengths.get(key) ?? 0) + length);
  }
  return [...lengths].map(([key, length]) => [Math.floor(key / count), key % count, length]);
}

/** For each object, the object that it becomes part of in a pass over objects smaller than a size. */
function mergePass(areas, borders, size) {
  const isFragment = (label) => areas[label] < size;
  let target = choices(areas.length, borders, isFragment);
  // Two fragments that chose each other would make a circle.
  const mutual = [...target.keys()].filter((label) => target[target[label]] === label && label < target[label]);
  for (const label of mutual) target[label] = label;
  for (let next = target.map((label) => target[label]); String(next) !== String(target); ) {
    target = next;
    next = target.map((label) => target[label]);
  }
  const smallest = Int32Array.from({ length: target.length }, (_, label) => label);
  target.forEach((into, label) => (smallest[into] = Math.min(smallest[into], label)));
  return target.map((label) => smallest[label]);
}

/** Neighbor that each fragment joins; every other object stays with itself. */
function choices(count, borders, isFragment) {
  const target = Int32Array.from({ length: count }, (_, label) => label);
  const best = new Array(count).fill(null);
  const offer = (label, neighbor, length) => {
    if (!isFragment(label)) return;
    const key = [isFragment(neighbor) ? 1 : 0, -length, neighbor];
    if (best[label] === null || comesBefore(key, best[label])) {
      best[label] = key;
      target[label] = neighbor;
    }
  };
  for (const [one, other, length] of borders) {
    offer(one, other, length);
    offer(other, one, length);
  }
  return target;
}

function comesBefore(one, other) {
  const place = one.findIndex((value, i) => value !== other[i]);
  return place >= 0 && one[place] < other[place];
}

/** Fill regions of background that touch one object only, and not the border of the image. */
export function fillHoles(labels) {
  const { height, width } = labels;
  const { regions, owners } = holes(labels);
  const data = made(Int32Array, regions.length, (at) => labels.data[at] || Math.max(0, owners[regions[at]]));
  return { data, height, width };
}

const OPEN = -1;

/** Regions of background from 1 on, and for each the object that owns it, `OPEN` if none does. */
function holes({ data, height, width }) {
  const regions = new Int32Array(data.length);
  const owners = [OPEN];
  for (let start = 0; start < data.length; start += 1) {
    if (data[start] !== 0 || regions[start] !== 0) continue;
    const touched = new Set();
    flood(start, owners.length, data, regions, height, width, (label) => touched.add(label));
    owners.push(touched.size === 1 ? [...touched][0] : OPEN);
  }
  return { regions, owners };
}

/** Number a region of background; `touch` gets the objects around it, and `OPEN` for the border of the image. */
function flood(start, number, data, regions, height, width, touch) {
  const stack = [start];
  regions[start] = number;
  const visit = (next) => {
    if (data[next] !== 0) touch(data[next]);
    else if (regions[next] === 0) {
      regions[next] = number;
      stack.push(next);
    }
  };
  while (stack.length) {
    const at = stack.pop();
    const x = at % width;
    const y = (at - x) / width;
    if (y === 0 || x === 0 || y === height - 1 || x === width - 1) touch(OPEN);
    if (y > 0) visit(at - width);
    if (y < height - 1) visit(at + width);
    if (x > 0) visit(at - 1);
    if (x < width - 1) visit(at + 1);
  }
}
