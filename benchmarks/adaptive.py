"""The paper's experiment: other ranges, directions and clusterers at inference, the network run once per image.

``python benchmarks/adaptive.py --model bbbc039 --data BBBC039 --output results`` clusters the same embeddings

- by the mutex watershed with N = 4, N = 8, and N = 8 with more ranges, and the model's own neighborhood;
- by mutex watershed, mean shift, multicut and agglomeration, with the main setting of each chosen on training images;

and writes both tables as CSV and reStructuredText, and for BBBC039 a picture of one field.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from adaptive_picture import draw
from data import (
    SETTING,
    add_arguments,
    files_of,
    is_given_foreground,
    load_model,
    read,
    recipe_of,
    with_given,
)

from pixel_embedded_affinity import Embedding, Neighborhood, Segmenter
from pixel_embedded_affinity.data.layouts import Files
from pixel_embedded_affinity.export import write_table
from pixel_embedded_affinity.io.atomic import atomic_path
from pixel_embedded_affinity.metrics import evaluate
from pixel_embedded_affinity.training.recipe import Recipe

Array = npt.NDArray[Any]

# Ranges of the paper, in pixels, and further ones.
RANGES = {"bbbc039": ((1, 3, 5, 9, 11), (15, 21)), "cvppp": ((1, 3, 5, 9, 27), (15, 41))}
# Headings and names in `metrics.evaluate`; the first measure chooses the settings.
MEASURES = {
    "bbbc039": {"AJI": "aggregated_jaccard_index", "Dice": "foreground_dice", "PQ": "panoptic_quality"},
    "cvppp": {"SBD": "symmetric_best_dice", "abs. DiC": "absolute_difference_in_count"},
}
CANDIDATES: dict[str, tuple[str, tuple[float, ...]]] = {
    "mean_shift": ("bandwidth", (0.45, 0.6, 0.75, 0.9)),
    "multicut": ("beta", (0.3, 0.4, 0.5, 0.6)),
    "agglomeration": ("threshold", (0.3, 0.4, 0.5, 0.6)),
}


class Sample(NamedTuple):
    """One image, embedded, its truth, and the foreground where it is given."""

    image: Array
    embedding: Embedding
    truth: Array
    given: Array | None


@dataclass
class Variant:
    """A way to cluster, its score on each image, and the CPU seconds that it took."""

    name: str
    segmenter: Segmenter
    scores: list[dict[str, float]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def run(self, sample: Sample) -> Array:
        """Cluster one image, and keep the score."""
        start = time.process_time()
        labels = self.segmenter.cluster(sample.embedding, foreground=sample.given)
        self.seconds.append(time.process_time() - start)
        self.scores.append(evaluate(sample.truth, labels))
        return labels

    def mean(self, measure: str) -> float:
        """Mean score over the images."""
        return float(np.mean([scores[measure] for scores in self.scores]))


def neighborhoods(segmenter: Segmenter, ranges: Sequence[int], more: Sequence[int]) -> list[Variant]:
    """The mutex watershed with longer and longer ranges, and the model's strides."""
    strides, wide = segmenter.config.neighborhood.strides, sorted({*ranges, *more})
    tried = {
        f"N = 4, ranges {' '.join(map(str, ranges))}": Neighborhood.from_ranges(ranges, 4, strides=strides),
        "N = 8, the same ranges": Neighborhood.from_ranges(ranges, 8, strides=strides),
        f"N = 8, and {' '.join(map(str, more))}": Neighborhood.from_ranges(wide, 8, strides=strides),
        "as shipped": segmenter.config.neighborhood,
    }
    mutex = segmenter.with_settings(clusterer="mutex_watershed")
    return [Variant(name, mutex.with_settings(neighborhood=pairs)) for name, pairs in tried.items()]


def clusterers(segmenter: Segmenter, training: Sequence[Sample], measure: str) -> list[Variant]:
    """One clusterer of each kind, with the best setting on training images, or else with the default."""
    chosen = [Variant("mutex_watershed", segmenter.with_settings(clusterer="mutex_watershed"))]
    for name, (setting, values) in CANDIDATES.items():
        tried = [
            Variant(
                f"{name}, {setting} {value:g}",
                segmenter.with_settings(clusterer=name, clusterer_settings={setting: value}),
            )
            for value in values
        ]
        for variant in tried:
            for sample in training:
                variant.run(sample)
        default = Variant(name, segmenter.with_settings(clusterer=name))
        best = max(tried, key=lambda variant: variant.mean(measure)) if training else default
        chosen.append(Variant(best.name, best.segmenter))
    return chosen


class Embedder:
    """Embeds images, each once, and knows the CPU seconds that it took."""

    def __init__(self, segmenter: Segmenter, *, given: bool) -> None:
        self.segmenter, self.given, self.seconds = segmenter, given, [0.0][:0]

    def __call__(self, entry: Files) -> Sample:
        """Read and embed one image."""
        example = read(entry, self.segmenter)
        start = time.process_time()
        embedding = self.segmenter.embed(example.image, axes="CYX")
        self.seconds.append(time.process_time() - start)
        foreground = example.labels > 0 if self.given else None
        return Sample(example.image, embedding, example.labels, foreground)


def rows(
    tables: dict[str, list[Variant]], measures: dict[str, str], embedding: float
) -> Iterator[dict[str, Any]]:
    """One row per variant: its mean scores, its gain over the first one, and its share of the network's time."""
    heading, deciding = next(iter(measures.items()))
    for table, variants in tables.items():
        for variant in variants:
            scores = {heading: variant.mean(measure) for heading, measure in measures.items()}
            share = float(np.mean(variant.seconds)) / embedding
            gain = {f"{heading} gained": gained(variants[0], variant, deciding)}
            yield {"table": table, "variant": variant.name, **scores, **gain, "time / network": share}


def gained(first: Variant, variant: Variant, measure: str) -> str:
    """Mean difference of a score over the images, and its standard error."""
    differences = [new[measure] - old[measure] for old, new in zip(first.scores, variant.scores)]
    if variant is first or len(differences) < 2:
        return ""
    error = np.std(differences, ddof=1) / np.sqrt(len(differences))
    return f"{np.mean(differences):+.4f} +- {error:.4f}"


def as_rst(lines: Sequence[dict[str, Any]]) -> str:
    """Lay out rows as simple tables, one for each value of the column ``table``."""
    names = dict.fromkeys(line["table"] for line in lines)
    return "\n".join(simple_table(name, [line for line in lines if line["table"] == name]) for name in names)


def simple_table(title: str, lines: Sequence[dict[str, Any]]) -> str:
    """One table, without the column ``table``."""
    headings = [name for name in lines[0] if name != "table"]
    cells = [headings, *([cell(name, line[name]) for name in headings] for line in lines)]
    widths = [max(map(len, column)) for column in zip(*cells)]
    rule = " ".join("=" * width for width in widths)
    body = [" ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip() for row in cells]
    return "\n".join([title, "", rule, body[0], rule, *body[1:], rule]) + "\n"


def cell(name: str, value: Any) -> str:
    """Scores with four digits, times and counts with two."""
    if isinstance(value, str):
        return value
    return f"{value:.2f}" if name.startswith(("time", "abs.")) else f"{value:.4f}"


def write(folder: Path, lines: Sequence[dict[str, Any]]) -> None:
    """Write the rows as ``adaptive.csv`` and ``adaptive.rst``."""
    write_table(folder / "adaptive.csv", {name: [line[name] for line in lines] for name in lines[0]})
    with atomic_path(folder / "adaptive.rst", (".rst",)) as temporary:
        temporary.write_text(as_rst(lines), encoding="utf-8")


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The arguments of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_arguments(parser)
    parser.add_argument(
        "--training", type=int, default=5, help="images to choose settings on; 0: default settings"
    )
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help=SETTING)
    parser.add_argument("--ranges", type=int, nargs="+", help="for N = 4 and N = 8 (default: the paper's)")
    parser.add_argument("--more-ranges", type=int, nargs="+", help="ranges to add to these")
    parser.add_argument(
        "--picture", type=int, default=0, help="number of the image to draw, from 0; BBBC039 only"
    )
    parser.add_argument("--output", type=Path, required=True, help="folder for the tables and the picture")
    return parser.parse_args(arguments)


def tables_of(
    arguments: argparse.Namespace, segmenter: Segmenter, recipe: Recipe, embed: Callable[[Files], Sample]
) -> dict[str, list[Variant]]:
    """All variants to run."""
    ranges, more = RANGES.get(recipe.data.layout, RANGES["bbbc039"])
    training = files_of(arguments, segmenter, "training", arguments.training) if arguments.training else []
    measure = next(iter(measures_of(recipe).values()))
    return {
        "Mutex watershed, by neighborhood": neighborhoods(
            segmenter, arguments.ranges or ranges, arguments.more_ranges or more
        ),
        "Clusterers": clusterers(segmenter, [embed(entry) for entry in training], measure),
    }


def measures_of(recipe: Recipe) -> dict[str, str]:
    """The measures for this kind of data."""
    return MEASURES.get(recipe.data.layout, MEASURES["bbbc039"])


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    options = parsed(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    segmenter = with_given(load_model(options), options.set)
    recipe = recipe_of(options, segmenter)
    embed = Embedder(segmenter, given=is_given_foreground(options, segmenter))
    tables = tables_of(options, segmenter, recipe, embed)
    files = files_of(options, segmenter, options.split, options.count)
    for number, entry in enumerate(files):
        sample = embed(entry)
        labels = {variant.name: variant.run(sample) for variants in tables.values() for variant in variants}
        # Pictures of other data may not be passed on.
        if number == options.picture and recipe.data.layout == "bbbc039":
            draw(options.output / "adaptive.png", sample.image, sample.embedding, labels)
    lines = list(rows(tables, measures_of(recipe), float(np.mean(embed.seconds))))
    write(options.output, lines)
    print(f"{segmenter!r}, {len(files)} images of {options.split}\n\n{as_rst(lines)}")


if __name__ == "__main__":
    main()
