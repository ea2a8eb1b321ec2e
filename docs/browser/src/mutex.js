/** Affinities of pairs, and the mutex watershed on them; affinity.py and clustering/mutex_watershed.py in the library. */

import { clamp, made, relabel } from "./arrays.js";

/**
 * Vectors of unit length, position after position.
 * @typedef {{vectors: Float32Array, channels: number, height: number, width: number}} Embedding
 */

/** Cosine of the vectors of two positions. */
export function affinity({ vectors, channels }, first, second) {
  let sum = 0;
  for (let i = first * channels, j = second * channels, end = i + channels; i < end; i += 1, j += 1) {
    sum += vectors[i] * vectors[j];
  }
  return Math.fround(clamp(sum, -1, 1));
}

/**
 * Call `visit(first, second)` for the pairs of an offset that start on a stride and end in the image, in C order.
 * @param {{height: number, width: number}} shape
 */
export function eachPair({ height, width }, [down, right], [rowStride, columnStride], visit) {
  const move = down * width + right;
  const [leastY, mostY] = [Math.max(0, -down), Math.min(height, height - down)];
  const [leastX, mostX] = [Math.max(0, -right), Math.min(width, width - right)];
  for (let y = onStride(leastY, rowStride); y < mostY; y += rowStride) {
    for (let x = onStride(leastX, columnStride); x < mostX; x += columnStride) {
      visit(y * width + x, y * width + x + move);
    }
  }
}

function onStride(least, stride) {
  return Math.ceil(least / stride) * stride;
}

/**
 * Edges of the mutex watershed, attractive ones first, then in the order of offsets, then by position.
 * @param {Embedding} embedding
 * @param {import("./neighborhood.js").Neighborhood} neighborhood
 * @param {number} repulsion factor of the repulsive weights
 * @param {Uint8Array} inside where objects may be
 * @returns {{first: Int32Array, second: Int32Array, weight: Float32Array, attracting: number}}
 */
export function edgesOf(embedding, neighborhood, repulsion, inside) {
  const edges = room(embedding, neighborhood);
  const factor = Math.fround(repulsion);
  const repelling = (value) => factor * Math.fround(1 - Math.max(value, 0));
  const attracting = (value) => Math.max(value, 0);
  let count = addEdges(edges, 0, embedding, neighborhood, inside, true, attracting);
  const first = count;
  count = addEdges(edges, count, embedding, neighborhood, inside, false, repelling);
  return {
    first: edges.first.subarray(0, count),
    second: edges.second.subarray(0, count),
    weight: edges.weight.subarray(0, count),
    attracting: first,
  };
}

/** Memory for as many edges as there can be. */
function room({ height, width }, { offsets, attractive, strides }) {
  const pixels = height * width;
  const sparse = Math.ceil(height / strides[0]) * Math.ceil(width / strides[1]);
  const most = offsets.reduce((sum, _, k) => sum + (attractive[k] ? pixels : sparse), 0);
  return { first: new Int32Array(most), second: new Int32Array(most), weight: new Float32Array(most) };
}

function addEdges(edges, start, embedding, neighborhood, inside, role, weigh) {
  let count = start;
  const strides = role ? [1, 1] : neighborhood.strides;
  neighborhood.offsets.forEach((offset, k) => {
    if (neighborhood.attractive[k] !== role) return;
    eachPair(embedding, offset, strides, (first, second) => {
      if (!inside[first] || !inside[second]) return;
      edges.first[count] = first;
      edges.second[count] = second;
      edges.weight[count] = weigh(affinity(embedding, first, second));
      count += 1;
    });
  });
  return count;
}

/** Numbers of weights from the heaviest to the lightest; equal weights keep their order. Weights are at least 0. */
export function heaviestFirst(weights) {
  // The bits of floats that are not negative are ordered as the floats are.
  const bits = new Uint32Array(weights.slice().buffer);
  const keys = made(Uint32Array, bits.length, (edge) => 0x7fffffff - (bits[edge] & 0x7fffffff));
  let order = made(Uint32Array, weights.length, (edge) => edge);
  for (const shift of [0, 11, 22]) order = sortedByDigit(keys, order, shift);
  return order;
}

function sortedByDigit(keys, order, shift) {
  const places = new Uint32Array(2049);
  for (const key of keys) places[((key >>> shift) & 2047) + 1] += 1;
  for (let digit = 0; digit < 2048; digit += 1) places[digit + 1] += places[digit];
  const result = new Uint32Array(order.length);
  for (const item of order) {
    const digit = (keys[item] >>> shift) & 2047;
    result[places[digit]] = item;
    places[digit] += 1;
  }
  return result;
}

/**
 * Take edges from the heaviest to the lightest. An attractive edge joins the clusters at its ends, unless these exclude
 * each other. A repulsive edge makes them exclude each other, unless they are one already.
 * @returns {Int32Array} a number of the cluster of each position; the same for two positions if they are together
 */
export function mutexWatershed({ first, second, weight, attracting }, positions) {
  const clusters = new Clusters(positions);
  for (const edge of heaviestFirst(weight)) {
    const one = clusters.find(first[edge]);
    const other = clusters.find(second[edge]);
    if (one === other) continue;
    if (edge >= attracting) clusters.exclude(one, other);
    else if (!clusters.excludes(one, other)) clusters.join(one, other);
  }
  return made(Int32Array, positions, (position) => clusters.find(position));
}

/** Clusters that join, and clusters that must not. */
class Clusters {
  constructor(count) {
    this.parent = made(Int32Array, count, (position) => position);
    this.excluded = new Array(count).fill(null);
  }

  find(position) {
    const { parent } = this;
    let root = position;
    while (parent[root] !== root) root = parent[root] = parent[parent[root]];
    return root;
  }

  excludes(one, other) {
    return this.excluded[one] !== null && this.excluded[one].has(other);
  }

  exclude(one, other) {
    (this.excluded[one] ??= new Set()).add(other);
    (this.excluded[other] ??= new Set()).add(one);
  }

  /** Join two roots; the one that fewer exclude goes into the other. */
  join(one, other) {
    const fewer = (this.excluded[one]?.size ?? 0) < (this.excluded[other]?.size ?? 0);
    const [from, into] = fewer ? [one, other] : [other, one];
    this.parent[from] = into;
    for (const third of this.excluded[from] ?? []) {
      this.excluded[third].delete(from);
      this.exclude(third, into);
    }
    this.excluded[from] = null;
  }
}

/**
 * Cluster an embedding.
 * @param {Embedding} embedding
 * @param {import("./neighborhood.js").Neighborhood} neighborhood
 * @param {number} repulsion
 * @param {Uint8Array} inside
 * @returns {import("./arrays.js").Labels}
 */
export function cluster(embedding, neighborhood, repulsion, inside) {
  const { height, width } = embedding;
  const roots = mutexWatershed(edgesOf(embedding, neighborhood, repulsion, inside), height * width);
  return relabel({ data: made(Int32Array, roots.length, (at) => (inside[at] ? roots[at] + 1 : 0)), height, width });
}
