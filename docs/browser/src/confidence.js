/** How well the affinities agree that an object is one object, and a whole one; confidence.py in the library. */

import { clamp, largest } from "./arrays.js";
import { affinity, eachPair } from "./mutex.js";

/**
 * Mean affinity inside each object, minus the mean positive affinity of attractive pairs across its border.
 * @param {import("./arrays.js").Labels} labels numbered from 1, at the embedding's positions
 * @param {import("./mutex.js").Embedding} embedding
 * @param {import("./neighborhood.js").Neighborhood} neighborhood
 * @returns {Float64Array} one value in [0, 1] per object
 */
export function objectConfidence(labels, embedding, neighborhood) {
  const { data } = labels;
  const inside = new Means(largest(data) + 1);
  const across = new Means(largest(data) + 1);
  neighborhood.offsets.forEach((offset, k) => {
    eachPair(embedding, offset, [1, 1], (first, second) => {
      const [one, other] = [data[first], data[second]];
      if (one === other) {
        if (one > 0) inside.add(one, affinity(embedding, first, second));
      } else if (neighborhood.attractive[k]) {
        const value = Math.max(affinity(embedding, first, second), 0);
        across.add(one, value);
        across.add(other, value);
      }
    });
  });
  return inside.all().map((mean, i) => clamp(mean - across.all()[i], 0, 1)).slice(1);
}

/** Mean value of each row; 0 of nothing. */
class Means {
  constructor(rows) {
    this.sums = new Float64Array(rows);
    this.counts = new Float64Array(rows);
  }

  add(row, value) {
    this.sums[row] += value;
    this.counts[row] += 1;
  }

  all() {
    return (this.means ??= this.sums.map((sum, row) => sum / Math.max(this.counts[row], 1)));
  }
}
