/** Which pairs of positions are compared, which of them attract and which repel; neighborhood.py in the library. */

const DIRECTIONS = {
  4: [
    [-1, 0],
    [0, -1],
  ],
  8: [
    [-1, 0],
    [0, -1],
    [-1, -1],
    [-1, 1],
  ],
};

/** @typedef {{offsets: number[][], attractive: boolean[], strides: number[]}} Neighborhood */

/**
 * Ranges times directions. One pixel along an axis attracts, all else repels.
 * @param {number[]} ranges distances in positions
 * @param {4 | 8} directions
 * @param {number} stride repulsive pairs start at every Nth position along each axis
 * @returns {Neighborhood}
 */
export function fromRanges(ranges, directions, stride) {
  const offsets = ranges.flatMap((range) => DIRECTIONS[directions].map(([y, x]) => [range * y, range * x]));
  const attractive = offsets.map(([y, x]) => Math.abs(y) + Math.abs(x) === 1);
  return { offsets, attractive, strides: [stride, stride] };
}

/** Ranges, directions and stride of a neighborhood that was made of these; null for any other. */
export function rangesOf(neighborhood) {
  const ranges = [...new Set(neighborhood.offsets.map(([y, x]) => Math.max(Math.abs(y), Math.abs(x))))];
  const directions = neighborhood.offsets.some(([y, x]) => y !== 0 && x !== 0) ? 8 : 4;
  const [stride] = neighborhood.strides;
  const again = fromRanges(ranges, directions, stride);
  return JSON.stringify(again) === JSON.stringify(ordered(neighborhood)) ? { ranges, directions, stride } : null;
}

function ordered({ offsets, attractive, strides }) {
  return { offsets, attractive, strides };
}
