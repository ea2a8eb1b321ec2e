/**
 * From an image to labels: see, label, restore; pipeline.py in the library.
 *
 * `see` runs the network. `label` and `restore` take fractions of a second, so a change of settings calls only these.
 */

import { made, relabel } from "./arrays.js";
import { objectConfidence } from "./confidence.js";
import { cluster } from "./mutex.js";
import { normalize } from "./normalize.js";
import { postprocess } from "./postprocess.js";
import { resizeImage, resizeLabels } from "./resize.js";
import { bordersPlaced, positionsInside, spread } from "./restore.js";
import { findScale, remarkOn } from "./scale.js";

const MOST_PIXELS = 50e6;

/**
 * The settings that turn an embedding into labels.
 * @typedef {object} Settings
 * @property {import("./neighborhood.js").Neighborhood} neighborhood
 * @property {number} repulsion
 * @property {number} threshold a pixel is foreground where its probability is above it
 * @property {object} steps see `postprocess`
 */

/**
 * Return the settings of a model's configuration.
 * @returns {Settings}
 */
export function settingsOf(config) {
  return {
    neighborhood: config.neighborhood,
    repulsion: config.clusterer_settings.repulsion ?? 1,
    threshold: config.foreground_threshold,
    steps: config.postprocess,
  };
}

/**
 * Normalize and scale an image, and let the network embed it.
 * @param {import("./arrays.js").Plane} image
 * @param {object} config a model's configuration
 * @param {import("./network.js").Network} network
 * @param {{diameter: ?number, progress: (what: string, share: number) => void}} options
 *   diameter of the objects in pixels of the image; null: find it
 */
export async function see(image, config, network, { diameter = null, progress = () => {} } = {}) {
  const values = normalize(image, config.normalization, config.contrast);
  progress("size", 0);
  const found = await scaleOf(values, config, network, diameter);
  progress("network", 0);
  const { scale, looks, remark } = found;
  refuseHuge(image, scale);
  const embed = () => network.embed(resizeImage(values, scale), (share) => progress("network", share));
  const seen = found.seen ?? (await embed());
  return { ...seen, scale, looks, remark, image: { height: image.height, width: image.width } };
}

/** Refuse what would not fit into the memory of a tab. */
function refuseHuge({ height, width }, scale) {
  const pixels = height * width * scale * scale;
  if (pixels <= MOST_PIXELS) return;
  throw new Error(
    `The network would see ${Math.round(pixels / 1e6)} million pixels; at most ${MOST_PIXELS / 1e6} fit into a browser. ` +
      "Cut the image, or install the library.",
  );
}

/** The scale for objects of a diameter, or the one that is found in the image, with a remark for the user. */
async function scaleOf(values, config, network, diameter) {
  if (diameter !== null) return { scale: config.object_diameter / diameter, remark: "" };
  if (config.scale !== "auto") return { scale: config.scale, remark: "" };
  const known = { diameter: config.object_diameter, confidence: config.usual_confidence };
  const found = await findScale(values, known, observer(config, network));
  return { ...found, remark: remarkOn(found, known) };
}

/** Labels parts of an image as the configuration says; objects of little confidence stay. */
function observer(config, network) {
  const plain = { ...config.postprocess, min_confidence: 0, noise_floor: 0 };
  const settings = { ...settingsOf(config), steps: plain };
  return async (part) => {
    const seen = await network.embed(part);
    const labels = label(seen, settings);
    const confidence = objectConfidence(labels, seen.embedding, settings.neighborhood);
    return { labels, stride: seen.stride, confidence, seen };
  };
}

/** Where objects may be: pixels that are more likely foreground than the threshold. */
export function foregroundOf({ foreground }, threshold) {
  const least = Math.fround(threshold);
  const { data } = foreground;
  return { ...foreground, data: made(Uint8Array, data.length, (at) => (data[at] > least ? 1 : 0)) };
}

/**
 * Cluster an embedding.
 * @param {import("./network.js").Seen} seen
 * @param {Settings} settings
 * @returns {import("./arrays.js").Labels} at the positions of the embedding
 */
export function label(seen, settings) {
  const { embedding, stride } = seen;
  const inside = positionsInside(foregroundOf(seen, settings.threshold), stride);
  const found = cluster(embedding, settings.neighborhood, settings.repulsion, inside);
  const measure = (labels) => objectConfidence(labels, embedding, settings.neighborhood);
  return postprocess(found, settings.steps, measure);
}

/**
 * Give labels of positions the size of the image.
 * @param {import("./arrays.js").Labels} labels
 * @param {object} seen from `see`
 * @param {Settings} settings
 * @returns {import("./arrays.js").Labels}
 */
export function restore(labels, seen, settings) {
  let pixels = labels;
  if (seen.stride > 1) {
    pixels = spread(labels, foregroundOf(seen, settings.threshold), seen.stride);
    pixels = relabel(bordersPlaced(pixels, labels, seen.embedding, seen.stride));
  }
  const full = resizeLabels(pixels, seen.image);
  return full === pixels ? full : relabel(full);
}

/** Labels of the image from what the network saw. */
export function labelsOf(seen, settings) {
  return restore(label(seen, settings), seen, settings);
}
