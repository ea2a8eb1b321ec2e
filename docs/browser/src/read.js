/** Image files become planes of numbers, without loss: TIFF and PNG of 8, 16 and 32 bits, and what the browser can show. */

import { decode as decodePng, hasPngSignature } from "fast-png";
import { decode as decodeTiff } from "tiff";

const NAMES = ["red", "green", "blue"];

/**
 * @typedef {object} Picture
 * @property {number} height
 * @property {number} width
 * @property {{name: string, plane: () => import("./arrays.js").Plane}[]} planes what may be segmented; the first one is shown
 * @property {string} note what a user should know; else empty
 */

/**
 * Read an image file.
 * @param {Uint8Array} bytes
 * @returns {Promise<Picture>}
 */
export async function readImage(bytes) {
  const frames = await framesOf(bytes);
  const several = frames.length > 1;
  const planes = frames.flatMap((frame, i) => planesOf(frame, several ? `page ${i + 1}` : ""));
  const { height, width } = frames[0];
  return { height, width, planes, note: noteOn(frames) };
}

async function framesOf(bytes) {
  if (isTiff(bytes)) return tiffFrames(bytes);
  if (hasPngSignature(bytes)) return [pngFrame(bytes)];
  return [await shownFrame(bytes)];
}

function isTiff([first, second, third, fourth]) {
  const letters = String.fromCharCode(first, second);
  return (letters === "II" && third === 42) || (letters === "MM" && fourth === 42);
}

function tiffFrames(bytes) {
  try {
    return decodeTiff(bytes).map((page) => {
      const { data, height, width, samplesPerPixel: channels, alpha } = page;
      return { data, height, width, channels, alpha: Boolean(alpha) };
    });
  } catch (error) {
    throw new Error(`This TIFF cannot be read here (${error.message}). Save it without compression, or as PNG.`);
  }
}

function pngFrame(bytes) {
  const { data, height, width, channels, palette, depth } = decodePng(bytes);
  if (palette) return colored(data, palette, { height, width });
  if (depth < 8) throw new Error(`This PNG has ${depth} bits per pixel. Save it with 8 or 16 bits.`);
  return { data, height, width, channels, alpha: channels === 2 || channels === 4 };
}

function colored(numbers, palette, { height, width }) {
  const data = new Uint8Array(3 * height * width);
  for (let at = 0; at < height * width; at += 1) data.set(palette[numbers[at]].slice(0, 3), 3 * at);
  return { data, height, width, channels: 3, alpha: false };
}

/** An image as the browser shows it, such as a JPEG. */
async function shownFrame(bytes) {
  const bitmap = await createImageBitmap(new Blob([bytes])).catch(() => {
    throw new Error("This file is no image that a browser can read. Save it as TIFF or PNG.");
  });
  const { height, width } = bitmap;
  const context = new OffscreenCanvas(width, height).getContext("2d");
  context.drawImage(bitmap, 0, 0);
  return { data: context.getImageData(0, 0, width, height).data, height, width, channels: 4, alpha: true };
}

/** The channels of a frame that may be segmented: one if it is gray. */
function planesOf(frame, prefix) {
  const count = frame.channels - (frame.alpha ? 1 : 0);
  const chosen = count === 1 || isGray(frame, count) ? [0] : [...Array(count).keys()];
  return chosen.map((channel) => {
    const color = chosen.length > 1 ? NAMES[channel] ?? `channel ${channel + 1}` : "";
    const name = [prefix, color].filter(Boolean).join(", ");
    return { name, plane: () => planeOf(frame, channel) };
  });
}

function isGray({ data, channels }, count) {
  if (count !== 3) return false;
  for (let at = 0; at < data.length; at += channels) {
    if (data[at] !== data[at + 1] || data[at] !== data[at + 2]) return false;
  }
  return true;
}

function planeOf({ data, height, width, channels }, channel) {
  const plane = new Float32Array(height * width);
  for (let at = 0; at < plane.length; at += 1) {
    plane[at] = data[at * channels + channel];
    if (!Number.isFinite(plane[at])) throw new Error("This image holds values that are no numbers. Replace them first.");
  }
  return { data: plane, height, width };
}

function noteOn(frames) {
  if (frames.length > 1) return `The file holds ${frames.length} pages. Choose the one to segment.`;
  const [frame] = frames;
  const count = frame.channels - (frame.alpha ? 1 : 0);
  if (count === 1 || isGray(frame, count)) return "";
  return "This image has several channels. Choose the one that shows the objects.";
}
