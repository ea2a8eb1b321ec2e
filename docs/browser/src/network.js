/** From a normalized image through the network to vectors of unit length and the foreground; embedding.py in the library. */

const HALO = 160;
const LARGEST_TILE = 1024;

/**
 * What the network made of an image.
 * @typedef {object} Seen
 * @property {import("./mutex.js").Embedding} embedding
 * @property {{data: Float32Array, height: number, width: number}} foreground probability of each pixel
 * @property {number} stride pixels between two positions
 */

/** A network as a function of an image `{data, height, width}`, in tiles where the image is large. */
export class Network {
  /**
   * @param {(image: import("./arrays.js").Plane) => Promise<Seen>} run
   * @param {number} grid pixels of the coarsest level; tiles start at its multiples
   */
  constructor(run, grid = 32) {
    this.run = run;
    this.grid = grid;
  }

  /**
   * @param {import("./arrays.js").Plane} image normalized
   * @param {(share: number) => void} progress
   * @returns {Promise<Seen>}
   */
  async embed(image, progress = () => {}) {
    if (Math.max(image.height, image.width) <= LARGEST_TILE + HALO) return this.run(image);
    return this.#inTiles(image, progress);
  }

  async #inTiles(image, progress) {
    const rows = tileLine(image.height, LARGEST_TILE, HALO, this.grid);
    const columns = tileLine(image.width, LARGEST_TILE, HALO, this.grid);
    let result = null;
    let done = 0;
    for (const row of rows) {
      for (const column of columns) {
        const part = await this.run(extended(image, row.outer, column.outer));
        result ??= empty(part, image);
        put(result, part, row, column);
        done += 1;
        progress(done / (rows.length * columns.length));
      }
    }
    return result;
  }
}

/**
 * Tiles of one axis: what the network sees and what is kept of it; geometry/tiling.py in the library.
 * @returns {{outer: number[], core: number[]}[]}
 */
export function tileLine(length, part, halo, grid) {
  const up = (value) => Math.ceil(value / grid) * grid;
  const [context, padded] = [up(halo), up(length)];
  const inside = Math.max(padded - 2 * context, grid);
  const step = up(Math.ceil(inside / Math.ceil(inside / up(part))));
  const seen = Math.min(step + 2 * context, padded);
  const starts = [];
  for (let start = 0; start < padded - seen; start += step) starts.push(start);
  starts.push(padded - seen);
  const ends = [0, ...starts.slice(1).map((start) => start + context), length];
  return starts.map((start, i) => ({ outer: [start, start + seen], core: [ends[i], ends[i + 1]] }));
}

/** A part of an image; beyond the image its last pixels are repeated. */
function extended({ data, height, width }, [top, bottom], [left, right]) {
  const [rows, columns] = [bottom - top, right - left];
  const part = new Float32Array(rows * columns);
  for (let y = 0; y < rows; y += 1) {
    const start = Math.min(top + y, height - 1) * width;
    for (let x = 0; x < columns; x += 1) part[y * columns + x] = data[start + Math.min(left + x, width - 1)];
  }
  return { data: part, height: rows, width: columns };
}

function empty({ embedding, stride }, { height, width }) {
  const [rows, columns] = [Math.ceil(height / stride), Math.ceil(width / stride)];
  const vectors = new Float32Array(rows * columns * embedding.channels);
  return {
    embedding: { vectors, channels: embedding.channels, height: rows, width: columns },
    foreground: { data: new Float32Array(height * width), height, width },
    stride,
  };
}

/** Write the core of a tile to its place. */
function put(result, part, row, column) {
  const { stride } = result;
  const { channels } = result.embedding;
  const moved = ({ outer, core }, step) => [core[0], core[1], outer[0]].map((at) => Math.ceil(at / step));
  copy(part.foreground, result.foreground, moved(row, 1), moved(column, 1), 1, "data");
  copy(part.embedding, result.embedding, moved(row, stride), moved(column, stride), channels, "vectors");
}

function copy(from, to, [top, bottom, down], [left, right, across], channels, name) {
  for (let y = top; y < bottom; y += 1) {
    const start = ((y - down) * from.width + left - across) * channels;
    const line = from[name].subarray(start, start + (right - left) * channels);
    to[name].set(line, (y * to.width + left) * channels);
  }
}

/**
 * Make a function of images from a session of onnxruntime.
 * @param {object} ort the module onnxruntime-web
 * @param {object} session
 * @returns {(image: import("./arrays.js").Plane) => Promise<Seen>}
 */
export function runOf(ort, session) {
  return async ({ data, height, width }) => {
    const image = new ort.Tensor("float32", data, [1, 1, height, width]);
    const { embedding, foreground } = await session.run({ image });
    const [, channels, rows, columns] = embedding.dims;
    return {
      embedding: { vectors: channelsLast(embedding.data, channels), channels, height: rows, width: columns },
      foreground: { data: foreground.data.slice(), height, width },
      stride: Math.round(height / rows),
    };
  };
}

/** Put the components of each vector side by side. */
export function channelsLast(values, channels) {
  const count = values.length / channels;
  const vectors = new Float32Array(values.length);
  for (let c = 0; c < channels; c += 1) {
    for (let at = 0; at < count; at += 1) vectors[at * channels + c] = values[c * count + at];
  }
  return vectors;
}
