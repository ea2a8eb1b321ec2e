"""Draw docs/images/mutex_watershed.gif: the mutex watershed at work on 48 pixels of three objects.

Run it from any folder::

    python docs/make_mutex_animation.py [FOLDER]

The steps are computed here, one by one, to be drawn; a test compares their result with the clusterer of the package.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from pictures import output_folder
from PIL import Image, ImageDraw, ImageFont

from pixel_embedded_affinity import Neighborhood, affinities
from pixel_embedded_affinity.io.atomic import atomic_path

Clusters = npt.NDArray[np.int64]

OBJECTS = np.array(
    [
        [0, 0, 0, 0, 1, 1, 1, 1],
        [0, 0, 0, 0, 1, 1, 1, 1],
        [0, 0, 0, 0, 1, 1, 1, 1],
        [0, 0, 0, 2, 2, 1, 1, 1],
        [0, 2, 2, 2, 2, 2, 2, 1],
        [2, 2, 2, 2, 2, 2, 2, 2],
    ]
)
# Pixels whose vectors lie between two objects: leaks.
BLURRED = {(1, 4): 0, (3, 2): 2}
NEIGHBORHOOD = Neighborhood.from_ranges([1, 3], directions=4)
NOISE = 0.16

CELL, MARGIN, HEAD, FOOT = 46, 14, 44, 34
PER_FRAME = 2
FRAME, PAUSE, END = 180, 1500, 3500
INK, PALE, JOIN, KEEP_APART = "#222222", "#e6e6e6", "#1a7f37", "#c62828"
# Shades of blue, yellow and violet: a hue for each object in the end, a shade for each cluster on the way.
HUES = (
    ("#8ecae6", "#5fa8d3", "#bfe3f2", "#3f88c5"),
    ("#ffd166", "#f4a259", "#ffe8a3", "#e08e2b"),
    ("#cdb4db", "#a98bc4", "#e5d4ef", "#8464a8"),
)


class Step(NamedTuple):
    """One pair, and what it did."""

    attracts: bool
    weight: float
    ends: tuple[int, int]
    effect: str
    clusters: Clusters


def main() -> None:
    """Write the animation."""
    path = output_folder() / "mutex_watershed.gif"
    frames, times = zip(*moving(list(steps(embedding()))), strict=True)
    palette = strip(frames[:: len(frames) // 12]).quantize(48)
    images = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    with atomic_path(path, (".gif",)) as temporary:
        images[0].save(
            temporary, save_all=True, append_images=images[1:], duration=times, loop=0, optimize=True
        )
    print(f"{path.name}: {len(frames)} frames, {path.stat().st_size / 1000:.0f} kB")


def strip(frames: Sequence[Image.Image]) -> Image.Image:
    """Several frames below each other, for the colors of all of them."""
    return Image.fromarray(np.concatenate([np.asarray(frame) for frame in frames]))


def embedding() -> npt.NDArray[np.float32]:
    """A vector for each pixel: an axis for each object, and some noise."""
    vectors = np.moveaxis(np.eye(3)[OBJECTS], -1, 0)
    for (y, x), other in BLURRED.items():
        vectors[other, y, x] = 0.9
    noisy = vectors + np.random.default_rng(3).normal(scale=NOISE, size=vectors.shape)
    return (noisy / np.linalg.norm(noisy, axis=0)).astype(np.float32)


def steps(vectors: npt.NDArray[np.float32]) -> Iterator[Step]:
    """Visit all pairs, the heaviest first: join, keep apart, or do nothing."""
    clusters, apart = np.arange(vectors[0].size), set[frozenset[int]]()
    for weight, attracts, ends in sorted(weighted_pairs(vectors), key=lambda pair: -pair[0]):
        one, other = sorted(int(clusters[end]) for end in ends)
        link = frozenset((one, other))
        if one == other:
            effect = "already one"
        elif not attracts:
            effect = "keep apart"
            apart.add(link)
        elif link in apart:
            effect = "stopped"
        else:
            effect = "join"
            clusters = np.where(clusters == other, one, clusters)
            apart = {frozenset(one if end == other else end for end in pair) for pair in apart}
        yield Step(attracts, weight, ends, effect, clusters)


def weighted_pairs(vectors: npt.NDArray[np.float32]) -> Iterator[tuple[float, bool, tuple[int, int]]]:
    """The weight of each pair, whether it attracts, and its two pixels."""
    found = affinities(vectors, NEIGHBORHOOD)
    index = np.arange(vectors[0].size).reshape(vectors[0].shape)
    channels = zip(NEIGHBORHOOD.offsets, NEIGHBORHOOD.attractive, found.values, found.valid, strict=True)
    for offset, attracts, values, valid in channels:
        for y, x in np.argwhere(valid):
            affinity = float(values[y, x])
            weight = max(affinity, 0.0) if attracts else 1 - affinity
            yield weight, attracts, (int(index[y, x]), int(index[y + offset[0], x + offset[1]]))


def moving(done: list[Step]) -> Iterator[tuple[Image.Image, int]]:
    """The frames and how long each is shown, in milliseconds; pairs without an effect are left out."""
    seen, links, first = [step for step in done if step.effect != "already one"], [], True
    yield frame(np.arange(OBJECTS.size), [], [], "48 pixels, each on its own"), PAUSE
    while seen:
        now = seen[:1] if seen[0].effect == "stopped" else seen[:PER_FRAME]
        now = [step for step in now if step.effect == now[0].effect]
        seen = seen[len(now) :]
        stops = now[0].effect == "stopped"
        yield frame(now[-1].clusters, links, now, told(now[0])), PAUSE if stops and first else FRAME
        first = first and not stops
        links += [step.ends for step in now if step.effect == "keep apart"]
    yield frame(done[-1].clusters, [], [], "every pair was visited: three objects"), END


def told(step: Step) -> str:
    """What a pair does, in words."""
    words = {
        "join": "alike, touching: join",
        "keep apart": "unlike: keep apart",
        "stopped": "alike, but kept apart before: no",
    }
    return f"weight {step.weight:.2f}   {words[step.effect]}"


def frame(clusters: Clusters, links: list[tuple[int, int]], now: list[Step], caption: str) -> Image.Image:
    """One picture: clusters as colors, pairs that keep apart as thin lines, the present pairs as thick ones."""
    height, width = OBJECTS.shape
    size = (2 * MARGIN + width * CELL, HEAD + height * CELL + FOOT)
    canvas = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(canvas)
    draw.text((MARGIN, HEAD / 2), caption, fill=INK, font=ImageFont.load_default(size=17), anchor="lm")
    for pixel, cluster in enumerate(clusters):
        x, y = middle(pixel)
        half = CELL / 2 - 2
        draw.rounded_rectangle((x - half, y - half, x + half, y + half), 6, fill=color_of(clusters, cluster))
    for one, other in touching():
        if clusters[one] == clusters[other]:
            draw_bridge(draw, middle(one), middle(other), color_of(clusters, clusters[one]))
    for ends in links:
        draw.line([middle(end) for end in ends], fill="#e8a0a0", width=1)
    for step in now:
        color = JOIN if step.effect == "join" else KEEP_APART if step.effect == "keep apart" else INK
        draw.line([middle(end) for end in step.ends], fill=color, width=5)
    legend(draw, size[1] - FOOT / 2)
    return canvas


def color_of(clusters: Clusters, cluster: int) -> str:
    """Pale for a single pixel, else a shade of the hue of the object that the cluster will belong to."""
    members = np.flatnonzero(clusters == cluster)
    if len(members) == 1:
        return PALE
    hue = HUES[np.bincount(OBJECTS.ravel()[members]).argmax()]
    return hue[cluster % len(hue)]


def touching() -> Iterator[tuple[int, int]]:
    """Pixels side by side."""
    index = np.arange(OBJECTS.size).reshape(OBJECTS.shape)
    yield from zip(index[:, :-1].ravel(), index[:, 1:].ravel(), strict=True)
    yield from zip(index[:-1].ravel(), index[1:].ravel(), strict=True)


def draw_bridge(
    draw: ImageDraw.ImageDraw, one: tuple[float, float], other: tuple[float, float], color: str
) -> None:
    """Fill the gap between two pixels of one cluster."""
    half = CELL / 2 - 8
    across = (0, half) if one[1] == other[1] else (half, 0)
    draw.rectangle(
        (one[0] - across[0], one[1] - across[1], other[0] + across[0], other[1] + across[1]), fill=color
    )


def middle(pixel: int) -> tuple[float, float]:
    """Where the middle of a pixel lies in the picture."""
    y, x = divmod(pixel, OBJECTS.shape[1])
    return MARGIN + (x + 0.5) * CELL, HEAD + (y + 0.5) * CELL


def legend(draw: ImageDraw.ImageDraw, y: float) -> None:
    """What the lines mean."""
    font = ImageFont.load_default(size=13)
    for left, color, text in ((MARGIN, JOIN, "join"), (90, KEEP_APART, "keep apart"), (200, INK, "stopped")):
        draw.line([(left, y), (left + 20, y)], fill=color, width=4)
        draw.text((left + 26, y), text, fill=INK, font=font, anchor="lm")


if __name__ == "__main__":
    main()
