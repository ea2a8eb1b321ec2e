/** The scale at which objects have the size that a model knows, found without labels; scale.py in the library. */

import { bincount, clamp, cropped, largest, mean, median, median32, roundHalfEven } from "./arrays.js";
import { blobDiameter } from "./blobs.js";
import { resizeImage } from "./resize.js";

const SMALLEST = 1 / 32;
const LARGEST = 4;
const SIDE = 176;
const FIRST = 0.5;
const AIM = 0.8;
const MOST = 0.3;
const FEW = 3;
const CONCLUSIVE = [0.45, 1.5];
const CONFIDENT = 0.75;
const AGREED = 0.5;
const UNSURE = 0.3;
const KEPT = 1.35;
const PAST = 0.9;
const UNLIKE = 0.55;

/** @typedef {{diameter: number, confidence: number}} Known the median diameter of the training objects, and the usual confidence */
/** @typedef {{scale: number, objects: number, diameter: number, confidence: number}} Look */
/** @typedef {{labels: import("./arrays.js").Labels, stride: number, confidence: Float64Array, seen: ?object}} Sight */

/**
 * Look at an image at several scales until its objects have about the diameter that the model knows. If the look that
 * decides shows all of the image well, the network need not see it again: `seen` is what the look saw, else null.
 * @param {import("./arrays.js").Plane} image normalized
 * @param {Known} known
 * @param {(part: import("./arrays.js").Plane) => Promise<Sight>} observe labels a resized part
 * @returns {Promise<{scale: number, looks: Look[], seen: ?object}>}
 */
export async function findScale(image, known, observe) {
  let [looks, views] = [[], []];
  const whole = wholeOf(image);
  const start = Math.max(leastOf(image), Math.min(FIRST, SIDE / Math.max(image.height, image.width)));
  let likely = firstLook(image, known);
  let { box, scale } = likely ?? { box: whole, scale: start };
  for (;;) {
    const part = resizeImage(cropped(image, box), scale);
    const sight = await observe(part);
    const look = lookAt(sight, scale, box, image);
    looks.push(look);
    views.push(isWhole(box, image) ? sight.seen : null);
    if (isConclusive(look, known, likely !== null) || isPast(looks, known)) return decided(looks, views, known, image);
    if (likely !== null) {
      // Blobs where hardly anything is found are none: shading, or stains.
      if (look.objects < FEW) [looks, views] = [[], []];
      [box, scale, likely] = [whole, start, null];
      continue;
    }
    if (scale >= LARGEST) return decided(looks, views, known, image);
    scale = nextScale(look, known);
    box = windowFor(interestOf(sight, part), box, scale);
  }
}

/** Part and scale of a look at the blobs of an image, in a part a little smaller than the objects that the model knows. */
function firstLook(image, known) {
  const diameter = blobDiameter(image);
  if (diameter === null) return null;
  const exact = known.diameter / diameter;
  const scale = settled(Math.max(leastOf(image), clamp(exact, SMALLEST, LARGEST)));
  const share = [image.height, image.width].reduce((all, length) => all * Math.min(1, SIDE / (scale * length)), 1);
  if (share > MOST) return { box: wholeOf(image), scale };
  const closer = Math.max(leastOf(image), rounded(clamp(AIM * exact, SMALLEST, LARGEST)));
  return { box: windowFor(contrastOf(image), wholeOf(image), closer), scale: closer };
}

function wholeOf({ height, width }) {
  return { top: 0, left: 0, bottom: height, right: width };
}

function isWhole(box, { height, width }) {
  return box.bottom - box.top === height && box.right - box.left === width;
}

/** The scale at which an image has one pixel along its shortest axis. */
function leastOf({ height, width }) {
  return 1 / Math.min(height, width);
}

function rounded(scale) {
  return Number(scale.toPrecision(2));
}

/** What a user should know about a scale that was found; empty if all is well. */
export function remarkOn({ looks }, known) {
  const best = bestOf(looks);
  if (!best) return "";
  if (!best.objects) return "No objects were found at any size. The image was taken as it is.";
  if (best.confidence >= UNLIKE * known.confidence) return "";
  return (
    `This image is unlike those that the model knows: its objects have a confidence of ${best.confidence.toFixed(2)}, ` +
    `where ${known.confidence.toFixed(2)} is usual. Look at the result before you use it.`
  );
}

/** Measure the objects of a look, without those that the part cuts if enough others remain. */
export function lookAt({ labels, stride, confidence }, scale, box, shape) {
  const areas = bincount(labels.data).subarray(1);
  if (!areas.length) return { scale, objects: 0, diameter: 0, confidence: 0 };
  const cut = cutObjects(labels, box, shape);
  let counted = [...areas.keys()].filter((i) => !cut.has(i + 1));
  if (counted.length < FEW) counted = [...areas.keys()];
  const area = median(counted.map((i) => areas[i])) * stride * stride;
  const sure = mean(counted.map((i) => confidence[i]));
  return { scale, objects: counted.length, diameter: Math.sqrt((4 * area) / Math.PI), confidence: sure };
}

/** Objects at the sides where the part ends but the image goes on. */
function cutObjects({ data, height, width }, box, shape) {
  const cut = new Set();
  const row = (y) => data.subarray(y * width, (y + 1) * width).forEach((label) => cut.add(label));
  const column = (x) => {
    for (let y = 0; y < height; y += 1) cut.add(data[y * width + x]);
  };
  if (box.top > 0) row(0);
  if (box.bottom < shape.height) row(height - 1);
  if (box.left > 0) column(0);
  if (box.right < shape.width) column(width - 1);
  return cut;
}

/** Whether a look shows confident objects that are large enough; less confident ones do where they were expected. */
function isConclusive(look, known, expected) {
  if (look.objects < FEW) return false;
  const sure = look.confidence / known.confidence;
  if (expected && isKept(look.diameter / known.diameter)) return sure >= AGREED;
  const [low, high] = CONCLUSIVE.map((share) => share * known.diameter);
  return sure >= CONFIDENT && low <= look.diameter && look.diameter <= high;
}

/** Whether the last look shows less than an earlier one that shows something. */
function isPast(looks, known) {
  const best = bestOf(looks);
  const shown = best.objects >= FEW && best.confidence >= UNSURE * known.confidence;
  return shown && evidenceOf(looks[looks.length - 1]) < PAST * evidenceOf(best);
}

/** Twice the scale, or what brings the objects near the known diameter if the look tells one. */
function nextScale(look, known) {
  const tells = look.objects >= FEW && look.confidence >= UNSURE * known.confidence;
  const factor = tells ? clamp((AIM * known.diameter) / look.diameter, Math.SQRT2, 4) : 2;
  return Math.min(look.scale * factor, LARGEST);
}

/** How much each position deserves a closer look: objects do; where there are none, what differs from the rest. */
function interestOf({ labels, stride }, part) {
  const { height, width } = labels;
  if (largest(labels.data)) return { data: Float32Array.from(labels.data, (label) => (label > 0 ? 1 : 0)), height, width };
  const data = Float32Array.from(labels.data, (_, at) => {
    const [y, x] = [Math.floor(at / width) * stride, (at % width) * stride];
    return part.data[y * part.width + x];
  });
  return contrastOf({ data, height, width });
}

/** How much each pixel differs from the rest. */
function contrastOf({ data, height, width }) {
  const middle = median32(data);
  return { data: data.map((value) => Math.abs(value - middle)), height, width };
}

/** The part for the next look: the most interesting one, as large as the network may see. */
export function windowFor(interest, box, scale) {
  const lengths = [box.bottom - box.top, box.right - box.left];
  const wanted = lengths.map((length) => Math.min(length, roundHalfEven(SIDE / scale)));
  const pixels = [lengths[0] / interest.height, lengths[1] / interest.width];
  const sizes = wanted.map((length, axis) => Math.max(1, roundHalfEven(length / pixels[axis])));
  const center = brightest(averaged(averaged(interest, sizes[0], true), sizes[1], false));
  const [y, x] = center.map((place, axis) => {
    const start = roundHalfEven((place + 0.5) * pixels[axis] - wanted[axis] / 2);
    return clamp(start, 0, lengths[axis] - wanted[axis]);
  });
  const [top, left] = [box.top + y, box.left + x];
  return { top, left, bottom: top + wanted[0], right: left + wanted[1] };
}

function brightest({ data, width }) {
  let best = 0;
  for (let at = 1; at < data.length; at += 1) if (data[at] > data[best]) best = at;
  return [Math.floor(best / width), best % width];
}

/** Mean over a window along the columns or the rows; zeros lie beyond the image. */
function averaged(plane, size, down) {
  if (size === 1) return plane;
  const { height, width } = plane;
  const [length, lines, step, next] = down ? [height, width, width, 1] : [width, height, 1, width];
  const before = size >> 1;
  const data = new Float32Array(plane.data.length);
  for (let line = 0; line < lines; line += 1) {
    const value = (i) => (i < 0 || i >= length ? 0 : plane.data[line * next + i * step]);
    let sum = 0;
    for (let i = 0; i < size; i += 1) sum += value(i - before);
    // One running mean, as SciPy has it: its rounding decides between windows that are equally good.
    sum /= size;
    for (let i = 0; i < length; i += 1) {
      if (i > 0) sum += (value(i - before + size - 1) - value(i - before - 1)) / size;
      data[line * next + i * step] = sum;
    }
  }
  return { data, height, width };
}

/** The look that decides: the most confident one, less where that is the mean of few objects. */
function bestOf(looks) {
  return looks.reduce((best, look) => (best && evidenceOf(best) >= evidenceOf(look) ? best : look), null);
}

function evidenceOf(look) {
  return (look.confidence * look.objects) / (look.objects + FEW);
}

/** The scale that the best look tells; or its own, with what it saw, if it shows all of the image well. */
function decided(looks, views, known, image) {
  const best = bestOf(looks);
  if (best.confidence < UNSURE * known.confidence) return { scale: 1, looks, seen: null };
  const factor = known.diameter / best.diameter;
  const seen = views[looks.indexOf(best)];
  if (seen && isKept(factor)) return { scale: best.scale, looks, seen };
  const scale = Math.max(leastOf(image), clamp(best.scale * factor, SMALLEST, LARGEST));
  return { scale: settled(scale), looks, seen: null };
}

function isKept(factor) {
  return factor > 1 / KEPT && factor < KEPT;
}

/** Round a scale to two digits; 1 if it is about 1. */
function settled(scale) {
  return isKept(scale) ? 1 : rounded(scale);
}
