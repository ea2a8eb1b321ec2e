"""Score against the number of labeled images: ``python benchmarks/finetune.py DATA``, images and labels of one kind.

Some images are the test; nothing else sees them. For each number of images, a model is fine-tuned on several draws from
the rest. No image: the model as it is, and with the scale that it finds in each image.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from data import load_model

from pixel_embedded_affinity import Segmenter
from pixel_embedded_affinity.data.layouts import RAW, DataSettings, Example, find_files, load_one
from pixel_embedded_affinity.export.table import write_table
from pixel_embedded_affinity.training.finetune import finetune_examples
from pixel_embedded_affinity.tune import as_metric

Row = dict[str, float | int | str]


def read(arguments: argparse.Namespace, channels: int) -> tuple[list[Example], list[Example]]:
    """The images to draw from and those of the test, in a random order that is always the same."""
    files = find_files(arguments.data, DataSettings(layout=arguments.layout), "all")
    order = np.random.default_rng(0).permutation(len(files))
    needed = arguments.test + arguments.draws * max(arguments.numbers)
    examples = [load_one(files[index], RAW, channels) for index in order[:needed]]
    return examples[arguments.test :], examples[: arguments.test]


def drawn(pool: Sequence[Example], number: int, draw: int) -> list[Example]:
    """Images of one draw; a smaller number of the same draw is a part of a larger one."""
    order = np.random.default_rng(draw + 1).permutation(len(pool))
    return [pool[index] for index in order[:number]]


def score(segmenter: Segmenter, test: Sequence[Example], metric: str) -> float:
    """Mean score on the test images."""
    measure = as_metric(metric)
    return float(np.mean([measure(one.labels, segmenter.segment(one.image, axes="CYX")) for one in test]))


def rows_of(arguments: argparse.Namespace, segmenter: Segmenter) -> list[Row]:
    """One row for each number of images and draw; printed as soon as it is known."""
    pool, test = read(arguments, segmenter.config.network.in_channels)
    rows: list[Row] = []

    def note(images: int, draw: int, what: str, model: Segmenter, steps: int) -> None:
        row: Row = {
            "images": images,
            "draw": draw,
            "model": what,
            "scale": str(model.config.scale),
            "steps": steps,
        }
        rows.append({**row, "score": score(model, test, arguments.metric)})
        print(
            *(f"{value:.4f}" if isinstance(value, float) else value for value in rows[-1].values()),
            flush=True,
        )

    if 0 in arguments.numbers:
        note(0, 0, "as it is", segmenter, 0)
        if segmenter.config.object_diameter is not None:
            note(0, 0, "scale auto", segmenter.with_settings(scale="auto"), 0)
    for number in (number for number in arguments.numbers if number):
        for draw in range(arguments.draws):
            found = finetune_examples(
                segmenter,
                drawn(pool, number, draw),
                minutes=arguments.minutes,
                steps=arguments.steps,
                metric=arguments.metric,
                seed=draw,
            )
            chosen = next(row for row in found.table if row["chosen"])
            note(number, draw, str(chosen["model"]), found.segmenter, int(chosen["step"]))
    return rows


def summary(rows: Sequence[Row]) -> list[tuple[int, float, float]]:
    """Number of images, mean and standard deviation over the draws; without images, the model as it is."""
    numbers = sorted({int(row["images"]) for row in rows})
    scores: dict[int, npt.NDArray[np.float64]] = {
        number: np.array(
            [row["score"] for row in rows if row["images"] == number and row["model"] != "scale auto"]
        )
        for number in numbers
    }
    return [
        (number, float(s.mean()), float(s.std(ddof=1)) if len(s) > 1 else 0.0) for number, s in scores.items()
    ]


def draw_curve(path: str, curve: Sequence[tuple[int, float, float]], metric: str) -> None:
    """Draw the mean with its spread over the draws (needs the extra ``plot``)."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(5, 3.5), layout="constrained")
    axes.errorbar(*zip(*curve), marker="o", capsize=3)
    axes.set(xlabel="labeled images", ylabel=f"{metric} on the test images")
    figure.savefig(path, dpi=150)


def main(argv: Sequence[str] | None = None) -> None:
    """Fine-tune, score, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", help="folder with images/ and labels/, or a list of image and label paths")
    parser.add_argument("--layout", default="folders", help="how the data lie (default: %(default)s)")
    parser.add_argument(
        "--model", default="cvppp", help="name of a model, or a .safetensors file (default: %(default)s)"
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--numbers", type=int, nargs="+", default=[0, 1, 3, 5, 10], help="labeled images")
    parser.add_argument("--draws", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--test", type=int, default=20, help="images of the test (default: %(default)s)")
    parser.add_argument("--minutes", type=float, help="default: 10")
    parser.add_argument("--steps", type=int, help="training steps, in place of a time")
    parser.add_argument("--metric", default="AJI", help="default: %(default)s")
    parser.add_argument("--views", type=int, help="views of the network (default: the model's)")
    parser.add_argument("--table", help="also write all rows (CSV)")
    parser.add_argument("--picture", help="also draw the curve (PNG)")
    arguments = parser.parse_args(argv)
    segmenter = load_model(arguments)
    if arguments.views is not None:
        segmenter = segmenter.with_settings(views=arguments.views)
    print("images draw model scale steps", arguments.metric)
    rows = rows_of(arguments, segmenter)
    curve = summary(rows)
    for number, mean, spread in curve:
        print(
            f"{number} images: {arguments.metric} {mean:.4f}, standard deviation over the draws {spread:.4f}"
        )
    if arguments.table:
        write_table(arguments.table, {name: [row[name] for row in rows] for name in rows[0]})
    if arguments.picture:
        draw_curve(arguments.picture, curve, arguments.metric)


if __name__ == "__main__":
    main()
