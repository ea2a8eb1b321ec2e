/** Everything that takes time, away from the page: reading, the network, clustering, files. */

import * as ort from "onnxruntime-web/wasm";

import { largest } from "./arrays.js";
import { geojson, imagejRois, labelsPng } from "./downloads.js";
import { Network, runOf } from "./network.js";
import { polygonsOf } from "./polygons.js";
import { readImage } from "./read.js";
import { labelsOf, see } from "./segment.js";

const WRITERS = { png: labelsPng, rois: imagejRois, geojson };

/** What is there: the models, the picture and its chosen plane, what the network saw, and the labels. */
const state = { models: {}, sessions: {}, picture: null, plane: null, seen: null, labels: null };

/** What the page may ask for; each answer is an object. */
const METHODS = {
  async start({ wasm, models }) {
    Object.assign(ort.env.wasm, { wasmBinary: wasm, numThreads: 1, proxy: false });
    state.models = models;
    return {};
  },

  async open({ bytes }) {
    state.picture = await readImage(new Uint8Array(bytes));
    return { note: state.picture.note, planes: state.picture.planes.map(({ name }) => name) };
  },

  async choose({ number }) {
    state.plane = state.picture.planes[number].plane();
    return state.plane;
  },

  async see({ model, diameter }, progress) {
    const { config } = state.models[model];
    const network = new Network(runOf(ort, await sessionOf(model)));
    state.seen = await see(state.plane, config, network, { diameter, progress });
    const { scale, remark, stride } = state.seen;
    return { scale, remark, stride };
  },

  async label({ settings }) {
    state.labels = labelsOf(state.seen, settings);
    return { count: largest(state.labels.data), outlines: [...polygonsOf(state.labels)] };
  },

  async file({ kind }) {
    return { bytes: WRITERS[kind](state.labels) };
  },
};

async function sessionOf(model) {
  state.sessions[model] ??= await ort.InferenceSession.create(state.models[model].network);
  return state.sessions[model];
}

onmessage = async ({ data: { id, method, values } }) => {
  const progress = (what, share) => postMessage({ id, progress: { what, share } });
  try {
    postMessage({ id, answer: await METHODS[method](values, progress) });
  } catch (error) {
    // The runtime throws a bare number where memory ends.
    postMessage({ id, error: error.message ?? "The memory of this tab does not suffice. Cut the image." });
  }
};
