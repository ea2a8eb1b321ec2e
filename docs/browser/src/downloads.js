/** Results as files: labels as PNG, regions for ImageJ, detections for QuPath. */

import { encode } from "fast-png";
import { strToU8, zipSync } from "fflate";

import { largest } from "./arrays.js";
import { polygonsOf } from "./polygons.js";

const FARTHEST = 32767;
const MOST_OBJECTS = 65535;
const HEADER = 64;
const [MOVE, LINE, CLOSE] = [0, 1, 4];
const [RECTANGLE, TRACED] = [1, 8];

/** Labels as a gray PNG of 16 bits: 0 is background, each object has its number. */
export function labelsPng({ data, height, width }) {
  if (largest(data) > MOST_OBJECTS) throw new Error(`More than ${MOST_OBJECTS} objects do not fit a PNG of 16 bits.`);
  return encode({ width, height, data: Uint16Array.from(data), depth: 16, channels: 1 });
}

/** Detections for QuPath, with their label and area in pixels. */
export function geojson(labels) {
  const areas = new Map();
  labels.data.forEach((label) => areas.set(label, (areas.get(label) ?? 0) + 1));
  const features = [...polygonsOf(labels)].map(([label, pieces]) => feature(label, pieces, areas.get(label)));
  return strToU8(JSON.stringify({ type: "FeatureCollection", features }));
}

function feature(label, pieces, area) {
  const shapes = pieces.map((rings) => rings.map(closed));
  const geometry =
    shapes.length === 1
      ? { type: "Polygon", coordinates: shapes[0] }
      : { type: "MultiPolygon", coordinates: shapes };
  const properties = { objectType: "detection", name: String(label), measurements: { label, area } };
  return { type: "Feature", geometry, properties };
}

/** Corners `[x, y]` of a ring, with the first one again at the end. */
function closed(ring) {
  return [...ring, ring[0]].map(([y, x]) => [x, y]);
}

/** Regions for the ROI manager of ImageJ and Fiji: a ZIP file; export/imagej_rois.py in the library. */
export function imagejRois(labels) {
  if (Math.max(labels.height, labels.width) > FARTHEST) throw new Error(`Regions of ImageJ end at pixel ${FARTHEST}.`);
  const files = {};
  for (const [label, pieces] of polygonsOf(labels)) files[`${label}.roi`] = region(String(label), pieces.flat());
  return zipSync(files, { mtime: new Date(1980, 0, 1) });
}

/** The bytes of one region: a traced line, or a path where there are holes or several pieces. */
export function region(name, rings) {
  const [top, left, bottom, right] = boxOf(rings.flat());
  const simple = rings.length === 1;
  const body = simple ? tracedBytes(rings[0], top, left) : pathBytes(rings);
  const view = new DataView(new ArrayBuffer(HEADER + body.byteLength + HEADER + 2 * name.length));
  new Uint8Array(view.buffer).set(new Uint8Array(body), HEADER);
  [..."Iout"].forEach((letter, i) => view.setUint8(i, letter.charCodeAt(0)));
  view.setInt16(4, 229);
  view.setUint8(6, simple ? TRACED : RECTANGLE);
  [top, left, bottom, right].forEach((value, i) => view.setInt16(8 + 2 * i, value));
  if (simple) view.setUint16(16, rings[0].length);
  else view.setInt32(36, body.byteLength / 4);
  writeName(view, HEADER + body.byteLength, name);
  return new Uint8Array(view.buffer);
}

function writeName(view, second, name) {
  view.setInt32(60, second);
  view.setInt32(second + 16, second + HEADER);
  view.setInt32(second + 20, name.length);
  [...name].forEach((letter, i) => view.setUint16(second + HEADER + 2 * i, letter.charCodeAt(0)));
}

function boxOf(corners) {
  const [ys, xs] = [corners.map(([y]) => y), corners.map(([, x]) => x)];
  const least = (values) => values.reduce((one, other) => Math.min(one, other));
  const most = (values) => values.reduce((one, other) => Math.max(one, other));
  return [least(ys), least(xs), most(ys), most(xs)];
}

function tracedBytes(ring, top, left) {
  const view = new DataView(new ArrayBuffer(4 * ring.length));
  ring.forEach(([y, x], i) => {
    view.setInt16(2 * i, x - left);
    view.setInt16(2 * (ring.length + i), y - top);
  });
  return view.buffer;
}

function pathBytes(rings) {
  const values = rings.flatMap((ring) => [
    ...ring.flatMap(([y, x], i) => [i === 0 ? MOVE : LINE, x, y]),
    CLOSE,
  ]);
  const view = new DataView(new ArrayBuffer(4 * values.length));
  values.forEach((value, i) => view.setFloat32(4 * i, value));
  return view.buffer;
}
