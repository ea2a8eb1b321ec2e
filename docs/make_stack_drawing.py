"""Draw docs/images/stack.svg: three sections of a block of tissue; each neuron has one color in all of them.

It is a drawing, not a result. Run it from any folder::

    python docs/make_stack_drawing.py [FOLDER]
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from pictures import output_folder

from pixel_embedded_affinity.io.atomic import atomic_path

Points = npt.NDArray[np.float64]

SIZE = (100.0, 75.0)
NEURONS = 13
SECTIONS = 3
MEMBRANE = 0.9
COLORS = (
    "#4e79a7 #f28e2b #59a14f #b07aa1 #edc948 #e15759 #76b7b2 #9c755f #ff9da7 #86bcb6 #d37295 #8cd17d #a0a8c0".split()
)


def main() -> None:
    """Write the drawing."""
    path = output_folder() / "stack.svg"
    with atomic_path(path, (".svg",)) as temporary:
        temporary.write_text(drawing(), encoding="utf-8")
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


def drawing() -> str:
    """The sections, the deepest one first, as SVG."""
    random = np.random.default_rng(8)
    seeds = spread(random)
    sheets = []
    for section in range(SECTIONS):
        sheets.append(sheet(seeds, section))
        seeds = seeds + random.normal(scale=3.0, size=seeds.shape)
    head = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 480" role="img">'
    title = "<title>A drawing of three sections of tissue, each neuron in one color</title>"
    return "\n".join([head, title, '<rect width="640" height="480" fill="#20242c"/>', *sheets, "</svg>\n"])


def spread(random: np.random.Generator) -> Points:
    """Middles of neurons that keep their distance: of many candidates, always the one farthest from all others."""
    chosen = [random.uniform((0, 0), SIZE)]
    while len(chosen) < NEURONS:
        candidates = random.uniform((0, 0), SIZE, size=(40, 2))
        distances = np.linalg.norm(candidates[:, None] - np.array(chosen)[None], axis=2).min(axis=1)
        chosen.append(candidates[distances.argmax()])
    return np.array(chosen)


def sheet(seeds: Points, section: int) -> str:
    """One section, seen from the side."""
    lift = 250 - 105 * section
    corners = np.array([(0, 0), (SIZE[0], 0), SIZE, (0, SIZE[1])])
    parts = [polygon(on_the_page(corners, lift), "#0d0f13", ' stroke="#8a93a5" stroke-width="2"')]
    for index, seed in enumerate(seeds):
        cell = corners
        for other in np.delete(seeds, index, axis=0):
            cell = nearer(cell, seed, other)
        if len(cell):
            parts.append(polygon(on_the_page(cell, lift), COLORS[index % len(COLORS)]))
    shade = polygon(on_the_page(corners, lift), "#20242c", f' opacity="{0.28 * (SECTIONS - 1 - section):.2f}"')
    return "".join([*parts, shade])


def nearer(cell: Points, seed: Points, other: Points) -> Points:
    """Cut off what lies nearer to another middle, and the membrane."""
    normal = (other - seed) / np.linalg.norm(other - seed)
    limit = normal @ (seed + other) / 2 - MEMBRANE
    kept: list[Points] = []
    for start, end in zip(cell, np.roll(cell, -1, axis=0), strict=True):
        before, after = normal @ start - limit, normal @ end - limit
        if before <= 0:
            kept.append(start)
        if before * after < 0:
            kept.append(start + (end - start) * before / (before - after))
    return np.array(kept)


def on_the_page(points: Points, lift: float) -> Points:
    """Lay a flat section into the drawing: sheared, and as high as it lies in the stack."""
    x, y = points[:, 0], points[:, 1]
    return np.stack([60 + 3.7 * x + 2.0 * y, lift + 2.4 * y], axis=1)


def polygon(points: Points, color: str, more: str = "") -> str:
    """A filled polygon."""
    corners = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polygon points="{corners}" fill="{color}" stroke-linejoin="round"{more}/>'


if __name__ == "__main__":
    main()
