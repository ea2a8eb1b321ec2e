/** Objects as polygons along the edges of their pixels; export/polygons.py in the library. */

/** @typedef {number[][]} Ring corners `[y, x]` of a closed line; the first is not repeated */

/** Edges of a pixel, clockwise from its top: where each starts, from the pixel's own corner, and where it leads. */
const STARTS = [
  [0, 0],
  [0, 1],
  [1, 1],
  [1, 0],
];

/**
 * Trace objects: for each label, the rings of each piece, the outer border first and then the holes.
 * @param {import("./arrays.js").Labels} labels
 * @returns {Map<number, Ring[][]>}
 */
export function polygonsOf(labels) {
  const pieces = paddedPieces(labels);
  const rings = new Map();
  for (const [piece, ring] of traced(pieces)) {
    if (!rings.has(piece)) rings.set(piece, []);
    rings.get(piece).push(ring);
  }
  const byLabel = new Map();
  for (const found of rings.values()) {
    const [y, x] = found[0][0];
    const label = labels.data[y * labels.width + x];
    byLabel.set(label, [...(byLabel.get(label) ?? []), found]);
  }
  return new Map([...byLabel].sort(([one], [other]) => one - other));
}

/** Pieces of objects that are connected by edges of pixels, numbered by their first pixels, with a margin of one pixel. */
function paddedPieces({ data, height, width }) {
  const across = width + 2;
  const padded = new Int32Array((height + 2) * across);
  for (let y = 0; y < height; y += 1) padded.set(data.subarray(y * width, (y + 1) * width), (y + 1) * across + 1);
  const pieces = new Int32Array(padded.length);
  let count = 0;
  for (let at = 0; at < padded.length; at += 1) {
    if (padded[at] && !pieces[at]) spreadPiece(at, (count += 1), padded, pieces, across);
  }
  return { data: pieces, width: across };
}

function spreadPiece(start, number, labels, pieces, width) {
  const stack = [start];
  pieces[start] = number;
  while (stack.length) {
    const at = stack.pop();
    for (const next of [at - width, at - 1, at + 1, at + width]) {
      if (labels[next] === labels[at] && !pieces[next]) {
        pieces[next] = number;
        stack.push(next);
      }
    }
  }
}

/** Rings with the pieces that they surround, ordered by their first edges. */
function* traced({ data, width }) {
  const steps = [1, width, -1, -width];
  const done = new Uint8Array(data.length * 4);
  for (let at = 0; at < data.length; at += 1) {
    for (let side = 0; side < 4 && data[at]; side += 1) {
      if (done[4 * at + side] || data[at + steps[(side + 3) % 4]] === data[at]) continue;
      yield [data[at], ringFrom(4 * at + side, data, steps, width, done)];
    }
  }
}

function ringFrom(first, pieces, steps, width, done) {
  const ring = [];
  let edge = first;
  while (!done[edge]) {
    done[edge] = 1;
    const next = follower(edge, pieces, steps);
    if (next % 4 !== edge % 4) ring.push(cornerOf(next, width));
    edge = next;
  }
  // The corner at the start of the first edge comes first, where there is one.
  const last = ring.at(-1);
  const [y, x] = cornerOf(first, width);
  return last[0] === y && last[1] === x ? [last, ...ring.slice(0, -1)] : ring;
}

/** The edge after an edge. Where the piece goes on across a corner, the ring goes there. */
function follower(edge, pieces, steps) {
  const [at, side] = [edge >> 2, edge % 4];
  const beside = at + steps[side];
  const across = beside + steps[(side + 3) % 4];
  if (pieces[across] === pieces[at]) return 4 * across + ((side + 3) % 4);
  if (pieces[beside] === pieces[at]) return 4 * beside + side;
  return 4 * at + ((side + 1) % 4);
}

function cornerOf(edge, width) {
  const [at, side] = [edge >> 2, edge % 4];
  return [Math.floor(at / width) - 1 + STARTS[side][0], (at % width) - 1 + STARTS[side][1]];
}
