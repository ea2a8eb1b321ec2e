"""Neighborhoods: which pairs of pixels are compared, which of them attract, and which repel."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import TYPE_CHECKING, Any

from pixel_embedded_affinity.errors import InputError, optional_module
from pixel_embedded_affinity.fields import as_integer, refuse_unknown

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Offset = tuple[int, ...]

# Half of the neighbors: the other half is the same edge seen from its other end.
_DIRECTIONS: dict[int, tuple[Offset, ...]] = {
    4: ((-1, 0), (0, -1)),
    8: ((-1, 0), (0, -1), (-1, -1), (-1, 1)),
    6: ((-1, 0, 0), (0, -1, 0), (0, 0, -1)),
}


def _half_neighbors_3d(most_axes: int) -> tuple[Offset, ...]:
    """Neighbors of a voxel along at most `most_axes` axes, one of each opposite pair, straight ones first."""
    moves = itertools.product((-1, 0, 1), repeat=3)
    half = [move for move in moves if move < (0, 0, 0) and sum(map(abs, move)) <= most_axes]
    return tuple(sorted(half, key=lambda move: (sum(map(abs, move)), move)))


_DIRECTIONS[18] = _half_neighbors_3d(2)
_DIRECTIONS[26] = _half_neighbors_3d(3)


@dataclass(frozen=True)
class Neighborhood:
    """Offsets between the two pixels of each compared pair, and the role of each pair in clustering.

    Parameters
    ----------
    offsets : sequence of sequences of int
        One offset per affinity channel, in NumPy axis order: ``(y, x)`` or ``(z, y, x)``, in pixels. The pair
        of channel ``k`` at pixel ``p`` is ``(p, p + offsets[k])``.
    attractive : sequence of bool, optional
        Whether the pairs of a channel attract (may merge) or repel (may forbid a merge). Default: offsets of
        one pixel along a single axis attract, all others repel.
    strides : int or sequence of int, optional
        Repulsive pairs are used only at pixels whose coordinates are multiples of the strides, one stride per
        axis. Default: 1 along each axis, so every pixel.

    Raises
    ------
    InputError
        If there is no offset, an offset is zero or repeated (also as its own opposite), dimensions are mixed
        or not 2 or 3, a number is not an integer, or a stride is below 1.

    Examples
    --------
    >>> Neighborhood.from_ranges([1, 9], directions=4, strides=5)
    Neighborhood(attractive=[(-1, 0), (0, -1)], repulsive=[(-9, 0), (0, -9)], strides=(5, 5))
    """

    offsets: tuple[Offset, ...]
    attractive: tuple[bool, ...] = ()
    strides: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        offsets = _checked_offsets(self.offsets)
        ndim = len(offsets[0])
        object.__setattr__(self, "offsets", offsets)
        object.__setattr__(self, "attractive", _checked_roles(self.attractive, offsets))
        object.__setattr__(self, "strides", _checked_strides(self.strides, ndim))

    @classmethod
    def from_ranges(
        cls,
        ranges: Sequence[int] | Sequence[Sequence[int]],
        directions: int = 4,
        *,
        strides: int | Sequence[int] | None = None,
        attractive: str | Sequence[bool] = "straight",
    ) -> Neighborhood:
        """Build a neighborhood from ranges times directions.

        Parameters
        ----------
        ranges : sequence of int, or of sequences of int
            Distances in pixels, each given once. A sequence per range gives one distance per axis, for
            anisotropic images: ``[(1, 1, 1), (1, 3, 3)]``.
        directions : {4, 8, 6, 18, 26}
            Size of the full neighborhood; half of it becomes offsets, since a pair has two ends. 4 and 8 are
            two-dimensional; 6, 18 and 26 three-dimensional.
        strides : int or sequence of int, optional
            Subsampling of the repulsive pairs, see the class.
        attractive : {"straight", "nearest"} or sequence of bool
            Which pairs attract; all others repel. ``"straight"``: one pixel along a single axis.
            ``"nearest"``: also the diagonals of one pixel, so that a corner is enough to hold an object together.
            Or one entry for each offset, in their order.

        Returns
        -------
        Neighborhood
            ``len(ranges) * directions / 2`` offsets (fewer where ranges coincide on an axis), ordered by
            range, then direction.

        Raises
        ------
        InputError
            If a range is not a positive integer or is repeated, `directions` is not one of the listed, or
            `attractive` is not as described.
        """
        moves = _moves(directions)
        offsets = _scaled(_checked_ranges(ranges, len(moves[0])), moves)
        return cls(offsets, _roles(attractive, offsets), strides)  # type: ignore[arg-type]

    @classmethod
    def from_distances(
        cls,
        distances: Sequence[float],
        pixel_size: float | Sequence[float],
        directions: int = 4,
        *,
        strides: int | Sequence[int] | None = None,
        attractive: str | Sequence[bool] = "straight",
    ) -> Neighborhood:
        """Build a neighborhood from distances in physical units, such as micrometers.

        Along each axis a distance becomes ``distance / pixel_size`` pixels, rounded to the nearest integer,
        halves up. Where pixels are longer than a distance, it becomes 1 pixel. Distances that become the same
        offset give it once. A distance holds along each axis, so that diagonals are longer, as in `from_ranges`.

        Parameters
        ----------
        distances : sequence of float
            In any unit of length, each given once.
        pixel_size : float or sequence of float
            Size of a pixel in the same unit, for all axes or one per axis, ``(y, x)`` or ``(z, y, x)``.
        directions : {4, 8, 6, 18, 26}
            As for `from_ranges`.
        strides : int or sequence of int, optional
            In pixels, see the class.
        attractive : {"straight", "nearest"} or sequence of bool
            As for `from_ranges`. It judges offsets in pixels: by default nothing attracts unless a distance is
            about one pixel.

        Returns
        -------
        Neighborhood
            Ordered by distance as given, then direction.

        Raises
        ------
        InputError
            If a distance or size is not a positive finite number, a distance is repeated, the sizes are not one per
            axis, or `from_ranges` would refuse the rest.

        Examples
        --------
        >>> Neighborhood.from_distances([0.5, 2], pixel_size=(2, 0.5, 0.5), directions=6).offsets
        ((-1, 0, 0), (0, -1, 0), (0, 0, -1), (0, -4, 0), (0, 0, -4))
        """
        moves = _moves(directions)
        offsets = _scaled(_in_pixels(distances, pixel_size, len(moves[0])), moves)
        return cls(offsets, _roles(attractive, offsets), strides)  # type: ignore[arg-type]

    @classmethod
    def nearest(cls, directions: int = 4) -> Neighborhood:
        """Build the neighborhood of the direct neighbors, which all attract, for connected components for example.

        Parameters
        ----------
        directions : {4, 8, 6, 18, 26}
            How many neighbors a pixel has.

        Returns
        -------
        Neighborhood
            ``directions / 2`` attractive offsets, the straight ones first.

        Raises
        ------
        InputError
            If `directions` is not one of the listed.
        """
        return cls.from_ranges([1], directions, attractive="nearest")

    @property
    def ndim(self) -> int:
        """Number of spatial axes, 2 or 3."""
        return len(self.offsets[0])

    @property
    def repulsive(self) -> tuple[bool, ...]:
        """Whether the pairs of each channel repel: the opposite of `attractive`."""
        return tuple(not role for role in self.attractive)

    def __len__(self) -> int:
        return len(self.offsets)

    def __repr__(self) -> str:
        attractive = [offset for offset, role in zip(self.offsets, self.attractive) if role]
        repulsive = [offset for offset, role in zip(self.offsets, self.attractive) if not role]
        return f"Neighborhood(attractive={attractive}, repulsive={repulsive}, strides={self.strides})"

    def __str__(self) -> str:
        lines = [f"{len(self)} offsets in {self.ndim}D, strides {' x '.join(map(str, self.strides))}"]
        for word, roles in (("attract", self.attractive), ("repel  ", self.repulsive)):
            chosen = [str(offset) for offset, role in zip(self.offsets, roles) if role]
            lines.append(f"  {word}: {' '.join(chosen) or 'none'}")
        return "\n".join(lines)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the offsets around a pixel: attractive ones in blue, repulsive ones in red.

        Both ends of each pair are shown, the offset itself filled, its opposite hollow. Axes are in pixels,
        the y-axis downwards, as images are shown.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; for three dimensions, axes of the projection ``"3d"``. Default: a new figure.

        Returns
        -------
        matplotlib.axes.Axes
            What was drawn on.

        Raises
        ------
        MissingDependencyError
            If matplotlib is not installed; the extra ``plot`` brings it.
        InputError
            If `ax` has another dimension than the neighborhood.
        """
        axes = new_axes(self.ndim) if ax is None else ax
        if hasattr(axes, "get_zlim") != (self.ndim == 3):
            raise InputError(
                f"ax must have {self.ndim} dimensions, as the neighborhood; for three, pass axes of "
                'projection="3d"'
            )
        for name, roles, color in (("attract", self.attractive, "C0"), ("repel", self.repulsive, "C3")):
            _draw(axes, [offset for offset, role in zip(self.offsets, roles) if role], name, color)
        _decorate(axes, self)
        return axes

    def to_dict(self) -> dict[str, Any]:
        """Return the neighborhood as JSON-compatible lists; `from_dict` is the inverse."""
        return {
            "offsets": [list(offset) for offset in self.offsets],
            "attractive": list(self.attractive),
            "strides": list(self.strides),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Neighborhood:
        """Build a neighborhood from the output of `to_dict`, or from the arguments of `from_ranges`.

        Raises
        ------
        InputError
            If a key is unknown, or the values are not valid.
        """
        if "ranges" in values:
            refuse_unknown(values, ("ranges", "directions", "strides", "attractive"), "[neighborhood]")
            return cls.from_ranges(**values)
        refuse_unknown(values, ("offsets", "attractive", "strides"), "[neighborhood]")
        return cls(values.get("offsets", ()), values.get("attractive", ()), values.get("strides", ()))

    def _check_directions(self, directions: Any) -> None:
        """Refuse directions for another number of axes; what is no number of directions is refused later."""
        fitting = [size for size, moves in _DIRECTIONS.items() if len(moves[0]) == self.ndim]
        if isinstance(directions, int) and directions in _DIRECTIONS and directions not in fitting:
            raise InputError(
                f"directions must be one of {', '.join(map(str, fitting))} for {self.ndim} axes, got {directions}"
            )

    def _of_ranges(self) -> dict[str, Any]:
        """Strides, and directions where the offsets go in those of a full neighborhood, for `from_ranges`."""
        signs = {tuple((step > 0) - (step < 0) for step in offset) for offset in self.offsets}
        known = [size for size, moves in _DIRECTIONS.items() if signs == set(moves)]
        return {"strides": self.strides} | ({"directions": known[0]} if known else {})

    def with_values(self, values: Mapping[str, Any]) -> Neighborhood:
        """Return a copy with other ranges, directions, strides, offsets or roles.

        With ``ranges``, strides that are not among the values stay as they are, and so do directions, where the
        offsets go in those of a full neighborhood. ``offsets`` go to `from_dict`.

        Raises
        ------
        InputError
            If a key is unknown, or the values are not valid; also for ``directions`` without ``ranges``.
        """
        if "ranges" in values:
            self._check_directions(values.get("directions"))
            return self.from_dict({**self._of_ranges(), **values})
        if "offsets" in values:
            return self.from_dict(values)
        if "directions" in values:
            raise InputError("neighborhood.directions belong to ranges; give neighborhood.ranges too")
        refuse_unknown(values, ("ranges", "directions", "strides", "offsets", "attractive"), "[neighborhood]")
        return replace(self, **values)


def _is_sequence(values: Any) -> bool:
    """Tell whether there is something to iterate over; arrays of no axis say so, but refuse."""
    if isinstance(values, (str, bytes)):
        return False
    return isinstance(values, Iterable) and getattr(values, "ndim", 1) > 0


def _as_sequence(values: Any, name: str) -> list[Any]:
    if not _is_sequence(values):
        raise InputError(f"{name} must be a sequence, got {values!r}; pass a list")
    return list(values)


def _as_int(value: Any, name: str) -> int:
    """Accept Python, NumPy and torch integers, refuse floats and booleans."""
    try:
        return as_integer(value)
    except TypeError:
        raise InputError(f"{name} must hold integers, got {value!r} of type {type(value).__name__}") from None


def _moves(directions: int) -> tuple[Offset, ...]:
    if isinstance(directions, bool) or not hasattr(directions, "__index__") or directions not in _DIRECTIONS:
        raise InputError(f"directions must be one of 4, 8 (2D), 6, 18, 26 (3D), got {directions!r}")
    return _DIRECTIONS[directions]


def _checked_ranges(values: Any, ndim: int) -> list[tuple[int, ...]]:
    """Each range as one distance per axis."""
    scales = [_scale(entry, ndim) for entry in _as_sequence(values, "ranges")]
    if not scales:
        raise InputError("ranges is empty; a neighborhood needs at least one range")
    if len(set(scales)) < len(scales):
        raise InputError(f"ranges must differ from each other, got {values!r}")
    return scales


def _scale(entry: Any, ndim: int) -> tuple[int, ...]:
    """One range as a distance per axis."""
    if _is_sequence(entry):
        scale = tuple(_as_int(value, "ranges") for value in entry)
    else:
        scale = (_as_int(entry, "ranges"),) * ndim
    if len(scale) != ndim:
        raise InputError(
            f"a range must have {ndim} distances, one per axis, for these directions, got {entry!r}"
        )
    if min(scale) < 1:
        raise InputError(f"ranges must be positive, got {entry!r}")
    return scale


def _scaled(scales: list[tuple[int, ...]], moves: tuple[Offset, ...]) -> tuple[Offset, ...]:
    """Every move by every scale, each offset once."""
    offsets = [tuple(s * m for s, m in zip(scale, move)) for scale in scales for move in moves]
    return tuple(dict.fromkeys(offsets))


def _roles(attractive: Any, offsets: tuple[Offset, ...]) -> Any:
    """Roles by their name, or as they were given."""
    if not isinstance(attractive, str):
        return attractive
    if attractive not in _ATTRACTS:
        raise InputError(
            f"attractive must be one of {list(_ATTRACTS)}, or one boolean per offset, got {attractive!r}"
        )
    return tuple(map(_ATTRACTS[attractive], offsets))


def _in_pixels(distances: Any, pixel_size: Any, ndim: int) -> list[tuple[int, ...]]:
    """Distances as pixels per axis, each once."""
    lengths = [_as_length(distance, "distances") for distance in _as_sequence(distances, "distances")]
    if not lengths:
        raise InputError("distances is empty; a neighborhood needs at least one distance")
    if len(set(lengths)) < len(lengths):
        raise InputError(f"distances must differ from each other, got {distances!r}")
    entries = list(pixel_size) if _is_sequence(pixel_size) else [pixel_size] * ndim
    sizes = [_as_length(size, "pixel_size") for size in entries]
    if len(sizes) != ndim:
        raise InputError(f"pixel_size must be one number, or {ndim} for these directions, got {pixel_size!r}")
    return [tuple(max(1, math.floor(length / size + 0.5)) for size in sizes) for length in lengths]


def _as_length(value: Any, name: str) -> float:
    """Accept positive finite numbers; NumPy's and torch's come as their Python numbers."""
    number = value.item() if getattr(value, "ndim", None) == 0 else value
    if isinstance(number, Real) and not isinstance(number, bool) and 0 < float(number) < math.inf:
        return float(number)
    raise InputError(f"{name} must be positive finite numbers, got {value!r}")


def _checked_offsets(values: Any) -> tuple[Offset, ...]:
    offsets = tuple(
        tuple(_as_int(component, "offsets") for component in _as_sequence(offset, "each offset"))
        for offset in _as_sequence(values, "offsets")
    )
    if not offsets:
        raise InputError("offsets is empty; a neighborhood needs at least one offset")
    dimensions = sorted({len(offset) for offset in offsets})
    if len(dimensions) > 1 or dimensions[0] not in (2, 3):
        raise InputError(f"offsets must all have 2 or all have 3 components, got lengths {dimensions}")
    _refuse_repeated(offsets)
    return offsets


def _refuse_repeated(offsets: tuple[Offset, ...]) -> None:
    seen: set[Offset] = set()
    for offset in offsets:
        if not any(offset):
            raise InputError(f"offset {offset} is zero; a pixel is not compared with itself")
        opposite = tuple(-component for component in offset)
        if offset in seen or opposite in seen:
            raise InputError(f"offset {offset} is given twice (an offset and its opposite are the same pair)")
        seen.add(offset)


def _is_unit_step(offset: Offset) -> bool:
    return sum(map(abs, offset)) == 1


def _is_direct_neighbor(offset: Offset) -> bool:
    return max(map(abs, offset)) == 1


_ATTRACTS = {"straight": _is_unit_step, "nearest": _is_direct_neighbor}


def _checked_roles(values: Any, offsets: tuple[Offset, ...]) -> tuple[bool, ...]:
    roles = _as_sequence(values, "attractive")
    if not roles:
        return tuple(_is_unit_step(offset) for offset in offsets)
    if len(roles) != len(offsets):
        raise InputError(f"attractive must have one entry per offset, {len(offsets)}, got {len(roles)}")
    wrong = [role for role in roles if not (isinstance(role, bool) or type(role).__name__ == "bool")]
    if wrong:
        raise InputError(f"attractive must hold booleans, got {wrong[0]!r}")
    return tuple(bool(role) for role in roles)


def _checked_strides(values: Any, ndim: int) -> tuple[int, ...]:
    if values is None or (isinstance(values, tuple) and not values):
        return (1,) * ndim
    entries = list(values) if _is_sequence(values) else [values] * ndim
    strides = tuple(_as_int(stride, "strides") for stride in entries)
    if len(strides) != ndim or min(strides) < 1:
        raise InputError(f"strides must be {ndim} integers of at least 1, got {values!r}")
    return strides


def new_axes(ndim: int = 2) -> Axes:
    """Axes of a new figure of matplotlib.

    Raises
    ------
    MissingDependencyError
        If matplotlib is not installed; the extra ``plot`` brings it.
    """
    pyplot = optional_module(
        "matplotlib.pyplot",
        "plotting needs the package matplotlib, which is not installed; "
        'run: pip install "pixel-embedded-affinity[plot]"',
    )
    return pyplot.figure().add_subplot(projection="3d" if ndim == 3 else None)  # type: ignore[no-any-return]


def _draw(axes: Any, offsets: list[Offset], name: str, color: str) -> None:
    for index, offset in enumerate(offsets):
        x_first = offset[::-1]
        axes.plot(*([-step, step] for step in x_first), color=color, alpha=0.3, zorder=1)
        label = name if index == 0 else None
        axes.plot(*([step] for step in x_first), "o", color=color, label=label)
        axes.plot(*([-step] for step in x_first), "o", color=color, markerfacecolor="none")


def _decorate(axes: Any, neighborhood: Neighborhood) -> None:
    axes.plot(*([0] for _ in range(neighborhood.ndim)), "s", color="black")
    axes.set(xlabel="x / px", ylabel="y / px", title=str(neighborhood).partition("\n")[0])
    if neighborhood.ndim == 3:
        axes.set_zlabel("z / px")
    axes.set_aspect("equal")
    if not axes.yaxis_inverted():
        axes.invert_yaxis()
    axes.legend()
