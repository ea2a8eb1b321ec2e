"""Images: any file or array becomes float32 ``(C, *spatial)``; what is not understood is refused."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pixel_embedded_affinity.errors import InputError, MissingDependencyError, PixelEmbeddedAffinityError

logger = logging.getLogger(__name__)

IMAGE_SUFFIXES: tuple[str, ...] = (".tif", ".tiff", ".png", ".jpg", ".jpeg")
"""File name endings that `read_image` accepts, in small or capital letters."""

_FORMAT_OF_SUFFIX = {".tif": "TIFF", ".tiff": "TIFF", ".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
_SIGNATURES = {
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"\x89PNG": "PNG",
    b"\xff\xd8\xff": "JPEG",
}
_AXES_OF_MODE = {
    "1": "YX",
    "L": "YX",
    "I": "YX",
    "I;16": "YX",
    "I;16B": "YX",
    "F": "YX",
    "LA": "YXC",
    "RGB": "YXC",
    "RGBA": "YXC",
}
_SPATIAL = {2: "YX", 3: "ZYX"}
_EXIF_ORIENTATION = 0x0112
_MOST_PIXELS = 2**31 - 1
"""The most objects that int32 can count; also more than the embedding of any machine's main memory holds."""


@dataclass(frozen=True, eq=False)
class Image:
    """An image in the one form that the pipeline works on.

    Attributes
    ----------
    values : numpy.ndarray
        float32, shape ``(C, *spatial)``, C-contiguous; memory of its own, never that of the source.
    source_axes : str
        Axes of the source that was converted, such as ``"YXC"``: what is needed to find the way back.
    """

    values: npt.NDArray[np.float32]
    source_axes: str

    @property
    def spatial_shape(self) -> tuple[int, ...]:
        """Lengths of the spatial axes in pixels, ordered ``(y, x)`` or ``(z, y, x)``."""
        return self.values.shape[1:]

    def to_source_order(self, spatial: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Arrange an array over ``spatial_shape``, labels for example, in the order of the source's axes.

        Parameters
        ----------
        spatial : numpy.ndarray
            Shape ``spatial_shape``, ordered ``(y, x)`` or ``(z, y, x)``.

        Returns
        -------
        numpy.ndarray
            The same values, C-contiguous; transposed only where the source was, as with axes ``"XY"``.

        Raises
        ------
        InputError
            If the number of axes differs from that of the image.
        """
        self._check_axis_count(spatial)
        letters = self._spatial_letters()
        canonical = _SPATIAL[len(letters)]
        return np.ascontiguousarray(spatial.transpose([canonical.index(letter) for letter in letters]))

    def from_source_order(self, spatial: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Arrange an array in the order of the source's axes, a foreground for example, as ``spatial_shape``.

        The inverse of `to_source_order`, with the same parameters and errors.
        """
        self._check_axis_count(spatial)
        letters = self._spatial_letters()
        return np.ascontiguousarray(
            spatial.transpose([letters.index(letter) for letter in _SPATIAL[len(letters)]])
        )

    def _spatial_letters(self) -> str:
        return self.source_axes.replace("C", "")

    def _check_axis_count(self, spatial: npt.NDArray[Any]) -> None:
        if spatial.ndim != len(self.spatial_shape):
            raise InputError(
                f"array of shape {spatial.shape} has {spatial.ndim} axes; expected the "
                f"{len(self.spatial_shape)} spatial axes of the image, without channels"
            )


class _Source(NamedTuple):
    """Raw values (lazy or not), the axes that a file declares, and whether its last channel is alpha."""

    values: Any
    axes: str
    has_alpha: bool


# --- files ------------------------------------------------------------------------------------------------


def read_image(path: str | os.PathLike[str]) -> npt.NDArray[Any]:
    """Read an image file: TIFF, PNG or JPEG.

    Values come as they are stored, except that

    - a palette PNG gives the RGB colors that it shows, not its indices;
    - the EXIF orientation of a PNG or JPEG is applied, so that the image is upright; this is logged.

    A TIFF gives its stored values whatever its display settings: a color table, "white is zero" and the
    orientation tag are not applied; this is logged. TIFF compressions that tifffile decodes only with the
    package ``imagecodecs`` (LZW, JPEG) are read by Pillow where the values come out the same.

    Parameters
    ----------
    path : str or path-like
        A file ending in one of `IMAGE_SUFFIXES`; its content must be of the format that the ending says.

    Returns
    -------
    numpy.ndarray
        The values; shape ``(Y, X)`` for gray, ``(Y, X, C)`` for color, all pages and axes for a TIFF.

    Raises
    ------
    InputError
        If the file is missing, a folder, empty, damaged, of another format than its name says, holds several
        unrelated images, or has values that cannot be read without loss (16-bit color PNG) or have no
        agreed meaning (CMYK).
    MissingDependencyError
        If a TIFF needs ``imagecodecs``, which is not installed.
    """
    values: npt.NDArray[Any] = _read(Path(path)).values
    return values


def _read(path: Path) -> _Source:
    # These two answer False, and do not raise, where a name is too long or holds a null.
    if os.path.isdir(path):
        raise InputError(f"'{path}' is a folder; use segment_many on the files in it, or pea segment")
    kind = _format_of_name(path)
    if not os.path.exists(path):
        raise InputError(f"'{path}' does not exist; expected an image file; check the path")
    try:
        _check_signature(path, kind)
        return _read_tiff(path) if kind == "TIFF" else _read_picture(path, kind)
    except PixelEmbeddedAffinityError:
        raise
    # A damaged file makes a decoder raise nearly anything, from struct.error to MemoryError.
    except Exception as error:
        raise InputError(
            f"'{path}' cannot be read ({type(error).__name__}: {_one_line(error)}); expected an intact "
            f"{kind} file; it may be damaged or cut short, so copy or export it again"
        ) from error


def _format_of_name(path: Path) -> str:
    kind = _FORMAT_OF_SUFFIX.get(path.suffix.lower())
    if kind is None:
        raise InputError(
            f"'{path}' ends in '{path.suffix}'; expected one of {', '.join(IMAGE_SUFFIXES)}; save the "
            "image as TIFF"
        )
    return kind


def _check_signature(path: Path, kind: str) -> None:
    with path.open("rb") as file:
        head = file.read(4)
    if not head:
        raise InputError(f"'{path}' is empty (0 bytes); copy it again")
    found = next((name for magic, name in _SIGNATURES.items() if head.startswith(magic)), "another format")
    if found != kind:
        raise InputError(
            f"'{path}' is named as {kind} but its content is {found}; expected {kind}; give the file its "
            "right ending"
        )


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


def _read_tiff(path: Path) -> _Source:
    import tifffile

    with tifffile.TiffFile(path) as file:
        series = _only_series(file, path)
        page = series.keyframe
        _check_complete(series, path)
        _check_photometric(page, path)
        try:
            values = series.asarray()
        # The codec package is optional in tifffile, which names it in errors of several classes.
        except (KeyError, ValueError) as error:
            if "imagecodecs" not in str(error):
                raise
            return _read_compressed_tiff(path, page, len(series.pages))
        has_alpha = bool(page.extrasamples) and page.extrasamples[-1].name in ("ASSOCALPHA", "UNASSALPHA")
        return _Source(values, series.axes.replace("S", "C"), has_alpha)


def _only_series(file: Any, path: Path) -> Any:
    # Counting ends at a page that leads back to an earlier one; listing the images first would never end.
    logger.debug("'%s' has %d page(s)", path, len(file.pages))
    if len(file.series) != 1:
        shapes = ", ".join(str(series.shape) for series in file.series)
        raise InputError(
            f"'{path}' holds {len(file.series)} separate images (shapes {shapes}); expected one; save each "
            "as its own file"
        )
    return file.series[0]


def _check_complete(series: Any, path: Path) -> None:
    """Refuse what tifffile would fill with zeros: pages, strips or tiles that are declared and not there."""
    page = series.keyframe
    if any(page is None for page in series.pages) or len(page.dataoffsets) < math.prod(page.chunked):
        raise InputError(
            f"'{path}' lacks some of the pages, strips or tiles that it declares; expected all; "
            "export it again"
        )


def _check_photometric(page: Any, path: Path) -> None:
    name = page.photometric.name
    if name in ("PALETTE", "MINISWHITE"):
        logger.info(
            "'%s' has display setting %s, which is not applied: its stored values are used", path, name
        )
    elif name not in ("MINISBLACK", "RGB") and (name, page.compression.name) != ("YCBCR", "JPEG"):
        raise InputError(f"'{path}' has colors of type {name}; expected gray or RGB; convert it to RGB")
    if _orientation(page) != 1:
        logger.info("'%s' has orientation tag %d, which is not applied", path, _orientation(page))


def _orientation(page: Any) -> int:
    return int(page.tags.valueof(274, default=1))


def _read_compressed_tiff(path: Path, page: Any, page_count: int) -> _Source:
    """Read a TIFF whose compression tifffile lacks, where Pillow gives its stored values unchanged."""
    if page_count > 1 or not _is_exact_in_pillow(page):
        raise MissingDependencyError(
            f"'{path}' is compressed by {page.compression.name}, which needs the package imagecodecs; "
            f"install it (pip install imagecodecs), or save the file without compression"
        )
    return _read_picture(path, "TIFF")


def _is_exact_in_pillow(page: Any) -> bool:
    exact_dtype = page.dtype == "uint8" or (
        page.samplesperpixel == 1 and page.dtype in ("uint16", "int16", "int32", "float32")
    )
    # Pillow applies color tables, inverts "white is zero", turns the image, divides by alpha, drops extras.
    return (
        exact_dtype
        and page.photometric.name in ("MINISBLACK", "RGB", "YCBCR")
        and _orientation(page) == 1
        and all(sample.name == "UNASSALPHA" for sample in page.extrasamples)
    )


def _read_picture(path: Path, kind: str) -> _Source:
    from PIL import Image as PillowImage

    with PillowImage.open(path, formats=[kind]) as stored:
        _check_frames(stored, path)
        _check_depth(stored, path)
        picture = _colored(_upright(stored, path), path)
        if picture.mode not in _AXES_OF_MODE:
            raise InputError(
                f"'{path}' has colors of type {picture.mode}; expected gray or RGB; convert it to RGB"
            )
        values = np.array(picture)
        # Older Pillow (10) gives 16-bit gray as 32-bit integers; a PNG holds no wider ones.
        if kind == "PNG" and picture.mode == "I":
            values = values.astype(np.uint16)
        return _Source(values, _AXES_OF_MODE[picture.mode], picture.mode in ("LA", "RGBA"))


def _check_frames(picture: Any, path: Path) -> None:
    count = getattr(picture, "n_frames", 1)
    # Cameras append previews to a JPEG (format "MPO"), in which the first picture is the main one.
    if count > 1 and picture.format == "MPO":
        logger.info("'%s' holds %d pictures; the first one, the main one, is used", path, count)
    elif count > 1:
        raise InputError(f"'{path}' holds {count} pictures; expected one; save each as its own file")


def _check_depth(picture: Any, path: Path) -> None:
    """Refuse 16-bit color, whose lower eight bits Pillow would drop without a word."""
    raw_mode = str(picture.tile[0][3]) if picture.tile else ""
    if ";16" in raw_mode and not picture.mode.startswith("I"):
        raise InputError(
            f"'{path}' is a {picture.format} with 16-bit colors, which would lose half of its bits; "
            "expected 8-bit colors or 16-bit gray; save it as TIFF"
        )


def _upright(picture: Any, path: Path) -> Any:
    from PIL import ImageOps

    orientation = picture.getexif().get(_EXIF_ORIENTATION, 1)
    if picture.format == "TIFF" or orientation == 1:
        return picture
    logger.info("'%s' has EXIF orientation %d, which is applied", path, orientation)
    return ImageOps.exif_transpose(picture)


def _colored(picture: Any, path: Path) -> Any:
    if picture.mode != "P":
        return picture
    logger.info("'%s' is a palette image; its RGB colors are used, without transparency", path)
    return picture.convert("RGB")


# --- arrays -----------------------------------------------------------------------------------------------


def as_image(source: Any, *, axes: str | None = None, channels: int, ndim: int = 2) -> Image:
    """Convert a file or an array into the form that the pipeline works on.

    Axes are letters: ``C`` channel, ``Z Y X`` space. Without `axes`, an array of `ndim` axes is ``"YX"`` or
    ``"ZYX"`` and one of one axis more has its channels **last** (``"YXC"``, ``"ZYXC"``); nothing is guessed
    from lengths. A file states its axes itself: axes of length 1 that the model does not know (time, for
    example) are dropped, and for a 3D model the unnamed page axis of a TIFF is Z.

    Channels are fitted to the model: an image of one channel is repeated for a model of three; an alpha
    channel (the fourth of four for a model of three, or one that a file declares) is dropped. Both are
    logged. Otherwise the counts must match.

    Parameters
    ----------
    source : str, path-like or array-like
        A file for `read_image`; or a NumPy array, a torch tensor on any device, nested lists of numbers, or
        anything with ``__array__`` or with ``shape``, ``dtype`` and ``__getitem__`` (zarr, dask, h5py). Any
        integer, float or bool dtype, byte order and stride. Never modified. Of at most 2**31 - 1 pixels.
    axes : str, optional
        Letter of each axis of the source, such as ``"CYX"``.
    channels : int
        Number of channels of the model.
    ndim : {2, 3}
        Number of spatial axes of the model.

    Returns
    -------
    Image
        Values float32 ``(channels, *spatial)`` in memory of their own.

    Raises
    ------
    InputError
        If the source cannot be read, has another dtype, has masked, NaN, infinite or (in float32) overflowing
        values, an empty axis, too many pixels, axes that do not fit, or a channel count that does not fit.
    """
    _check_model(channels, ndim)
    if isinstance(source, (str, os.PathLike)):
        loaded = _read(Path(source))
        if axes is None:
            loaded = _fit_declared_axes(loaded, ndim, os.fspath(source))
        axes = loaded.axes if axes is None else axes
    else:
        _check_single(source, axes, ndim)
        loaded = _Source(_opened(source, "image"), "", has_alpha=False)
    letters = _resolve_axes(axes, tuple(loaded.values.shape), ndim)
    array = _numeric(loaded.values, "image")
    view = _fit_channels(_channels_first(array, letters), channels, loaded.has_alpha, letters)
    return Image(_as_float32(view, array), letters)


def as_channels(source: Any, *, ndim: int = 2) -> npt.NDArray[np.float32]:
    """Convert an array that is spatial, or has its channels **first**, keeping all its channels.

    For what is drawn or measured beside labels, where no model says how many channels there are.

    Parameters
    ----------
    source : array-like
        Shape ``spatial`` or ``(C, *spatial)``; anything that `as_image` takes, files aside. Never modified.
    ndim : {2, 3}
        Number of spatial axes.

    Returns
    -------
    numpy.ndarray
        float32, shape ``(C, *spatial)``, in memory of its own.

    Raises
    ------
    InputError
        As `as_image`.
    """
    opened = _opened(source, "image")
    shape = tuple(opened.shape)
    if len(shape) not in (ndim, ndim + 1):
        raise InputError(
            f"image of shape {shape} has {len(shape)} axes; expected {ndim} ({_SPATIAL[ndim]}) or {ndim + 1} "
            f"(C{_SPATIAL[ndim]}); pass one image, channels first"
        )
    letters = _resolve_axes(("C" + _SPATIAL[ndim])[-len(shape) :], shape, ndim)
    array = _numeric(opened, "image")
    return _as_float32(_channels_first(array, letters), array)


def as_foreground(foreground: Any, spatial_shape: Sequence[int]) -> npt.NDArray[np.bool_]:
    """Convert a foreground mask into a bool array of its own.

    Parameters
    ----------
    foreground : array-like
        Anything that `as_image` takes, files aside; bool, or integers of which all but 0 are foreground (a
        label image, for example), or floating-point numbers that are all 0 or 1. Never modified.
    spatial_shape : sequence of int
        Shape that the mask must have, in pixels.

    Returns
    -------
    numpy.ndarray
        bool, shape `spatial_shape`, C-contiguous.

    Raises
    ------
    InputError
        If the shape differs, the dtype is not a number or bool, a value is not finite, or a floating-point
        value is neither 0 nor 1: a probability is no mask until it is thresholded.
    """
    opened = _opened(foreground, "foreground")
    if tuple(opened.shape) != tuple(spatial_shape):
        raise InputError(
            f"foreground of shape {tuple(opened.shape)} for an image of spatial shape "
            f"{tuple(spatial_shape)}; expected equal shapes; pass one value per pixel, without channels"
        )
    array = _numeric(opened, "foreground")
    if not np.isfinite(array).all():
        raise _not_finite(array, "foreground")
    _check_mask_values(array)
    return np.array(array != 0, dtype=np.bool_, order="C")


def _check_mask_values(array: npt.NDArray[Any]) -> None:
    """Refuse floating-point values besides 0 and 1, whose threshold only the caller knows."""
    if array.dtype.kind != "f" or bool(((array == 0) | (array == 1)).all()):
        return
    if array.min() >= 0 and array.max() <= 1:
        found = "values between 0 and 1 (a probability?)"
    else:
        found = f"{array.dtype} values from {array.min():g} to {array.max():g}"
    raise InputError(f"foreground holds {found}; expected a mask; threshold it, e.g. foreground > 0.5")


def as_labels(labels: Any, spatial_shape: Sequence[int] | None = None) -> npt.NDArray[np.integer[Any]]:
    """Check a label image and return it as a NumPy array, without a copy where it is one.

    Parameters
    ----------
    labels : array-like of integers
        2D or 3D, 0 = background, positive = objects.
    spatial_shape : sequence of int, optional
        Shape that the labels must have, in pixels.

    Returns
    -------
    numpy.ndarray
        The labels in their own integer dtype.

    Raises
    ------
    InputError
        If they are not integers, negative, empty, neither 2D nor 3D, or of another shape.
    """
    array = _numeric(_opened(labels, "labels"), "labels")
    if array.dtype.kind not in "iu":
        raise InputError(
            f"labels of dtype {array.dtype}; expected integers; convert them, e.g. by labels.astype('int32')"
        )
    if array.ndim not in _SPATIAL or array.size == 0:
        raise InputError(f"labels of shape {array.shape}; expected a 2D or 3D array with at least one pixel")
    if spatial_shape is not None and array.shape != tuple(spatial_shape):
        raise InputError(
            f"labels of shape {array.shape} for an image of spatial shape {tuple(spatial_shape)}; expected "
            "equal shapes; pass the labels of this image (an image with channels has shape (C, *spatial))"
        )
    if array.min() < 0:
        raise InputError(
            f"labels down to {array.min()}; expected 0 for background and positive numbers for objects"
        )
    return array


def _check_model(channels: int, ndim: int) -> None:
    if ndim not in _SPATIAL:
        raise InputError(f"ndim={ndim!r}; expected 2 or 3, the number of spatial axes of the model")
    if channels < 1:
        raise InputError(f"channels={channels!r}; expected at least 1, the number of channels of the model")


def _check_single(source: Any, axes: str | None, ndim: int) -> None:
    """Refuse a list of images; one of planes stays an image, where the axes or a 3D model say so."""
    if not isinstance(source, (list, tuple)) or not source:
        return
    paths = all(isinstance(item, (str, os.PathLike)) for item in source)
    least = max(ndim, len(axes)) if isinstance(axes, str) else ndim
    if paths or all(len(getattr(item, "shape", ())) >= least for item in source):
        count = f"{len(source)} image{'s' if len(source) > 1 else ''}"
        raise InputError(f"a list of {count}; use segment_many")


def _opened(source: Any, what: str) -> Any:
    """Return the source as an object with ``shape``; lazy arrays are loaded later, if their shape fits."""
    # Records have a mask of records; they are refused for their type.
    if isinstance(source, np.ma.MaskedArray) and source.dtype.names is None and np.ma.is_masked(source):
        raise InputError(
            f"{what} is a masked array with {int(np.ma.getmaskarray(source).sum())} masked values; "
            "expected a value for every pixel; fill them, e.g. by .filled(0)"
        )
    if isinstance(source, np.ndarray):
        return np.asarray(source)
    if all(hasattr(source, name) for name in ("detach", "cpu", "numpy")):
        return _from_tensor(source, what)
    if all(hasattr(source, name) for name in ("shape", "dtype", "__getitem__")):
        _check_shape(source, what)
        return source
    if isinstance(source, (list, tuple)) or hasattr(source, "__array__"):
        return _to_numpy(source, what)
    raise InputError(
        f"{what} of type {type(source).__name__}; expected an array (NumPy, torch, zarr, dask, h5py) or "
        "nested lists of numbers; convert it, e.g. by numpy.asarray"
    )


def _check_shape(source: Any, what: str) -> None:
    """Refuse what is no shape; an array of others may say anything."""
    shape = source.shape
    if not isinstance(shape, (tuple, list)) or not all(
        isinstance(length, (int, np.integer)) and length >= 0 for length in shape
    ):
        raise InputError(
            f"{what} of type {type(source).__name__} has shape {shape!r}; expected a tuple of lengths; convert it "
            "into a NumPy array first"
        )


def _from_tensor(tensor: Any, what: str) -> npt.NDArray[Any]:
    try:
        tensor = tensor.detach().cpu()
        # NumPy lacks bfloat16 and the 8-bit floats; float32 holds all their values.
        if tensor.is_floating_point() and tensor.element_size() < 4:
            tensor = tensor.float()
        return np.asarray(tensor.numpy())
    except (TypeError, RuntimeError, NotImplementedError) as error:
        raise _not_an_array(tensor, what, error) from error


def _to_numpy(source: Any, what: str) -> npt.NDArray[Any]:
    try:
        convertible = isinstance(source, (list, tuple)) or hasattr(source, "__array__")
        return np.asarray(source if convertible else source[...])
    # A source of others, behind which a file or a network may lie, raises nearly anything.
    except Exception as error:
        raise _not_an_array(source, what, error) from error


def _not_an_array(source: Any, what: str, error: BaseException) -> InputError:
    return InputError(
        f"{what} of type {type(source).__name__} does not convert into an array of numbers "
        f"({_reason(error)}); expected one number per pixel in a regular grid; convert it to a NumPy "
        "array first"
    )


def _reason(error: BaseException) -> str:
    return _one_line(error) or type(error).__name__


def _numeric(opened: Any, what: str) -> npt.NDArray[Any]:
    array = _to_numpy(opened, what)
    if array.shape != tuple(opened.shape):
        raise InputError(
            f"{what} of type {type(opened).__name__} has shape {tuple(opened.shape)}, but gives values of shape "
            f"{array.shape}; expected equal shapes; convert it into a NumPy array first"
        )
    if array.dtype.kind not in "biuf":
        raise InputError(
            f"{what} of dtype {array.dtype}; expected an integer, float or bool dtype; convert it to one, "
            "e.g. by .astype"
        )
    return array


# --- axes -------------------------------------------------------------------------------------------------


def _fit_declared_axes(loaded: _Source, ndim: int, path: str) -> _Source:
    """Fit the axes of a file to the model: drop unknown axes of length 1, call unnamed pages Z in 3D."""
    declared, shape = loaded.axes, loaded.values.shape
    known = _SPATIAL[ndim] + "C"
    dropped = tuple(i for i, letter in enumerate(declared) if letter not in known and shape[i] == 1)
    letters = "".join(letter for i, letter in enumerate(declared) if i not in dropped)
    if ndim == 3 and "Z" not in letters:
        letters = letters.replace("I", "Q").replace("Q", "Z")
    if sorted(letters.replace("C", "", 1)) != sorted(_SPATIAL[ndim]):
        raise InputError(
            f"'{path}' holds axes {declared} of shape {shape}; expected one {ndim}D image "
            f"({_SPATIAL[ndim]}, with or without channels C); save the wanted part as its own file, or "
            "pass the axes"
        )
    return _Source(loaded.values.squeeze(dropped), letters, loaded.has_alpha)


def _resolve_axes(axes: str | None, shape: tuple[int, ...], ndim: int) -> str:
    letters = _default_axes(shape, ndim) if axes is None else axes
    _check_axes(letters, shape, ndim)
    if 0 in shape:
        raise InputError(f"image of shape {shape} is empty; expected at least one pixel along each axis")
    count = math.prod(length for length, letter in zip(shape, letters, strict=True) if letter != "C")
    # Before anything of a lazy array is loaded.
    if count > _MOST_PIXELS:
        raise InputError(
            f"image of shape {shape} has {count} pixels; expected at most {_MOST_PIXELS} at a time; segment "
            "it in parts, e.g. by Segmenter.segment_large"
        )
    return letters


def _default_axes(shape: tuple[int, ...], ndim: int) -> str:
    spatial = _SPATIAL[ndim]
    if len(shape) not in (ndim, ndim + 1):
        raise InputError(
            f"image of shape {shape} has {len(shape)} axes; expected {ndim} ({spatial}) or {ndim + 1} "
            f"({spatial}C) for a {ndim}D model; pass one image at a time"
        )
    return spatial if len(shape) == ndim else spatial + "C"


def _check_axes(axes: str, shape: tuple[int, ...], ndim: int) -> None:
    spatial = _SPATIAL[ndim]
    example = f"'{spatial}'" if len(shape) == ndim else f"'{spatial}C' or 'C{spatial}'"
    expected = f"expected one letter per axis, those of {spatial} and at most one C, such as axes={example}"
    if not isinstance(axes, str):
        raise InputError(f"axes={axes!r} is a {type(axes).__name__}; {expected}")
    if len(axes) != len(shape):
        raise InputError(
            f"axes='{axes}' names {len(axes)} axes of an image of {len(shape)} (shape {shape}); {expected}"
        )
    if unknown := sorted(set(axes) - set("CZYX")):
        advice = "; use upper case" if set(axes.upper()) <= set("CZYX") else ""
        raise InputError(f"axes='{axes}' has unknown letters {''.join(unknown)}; {expected}{advice}")
    if len(set(axes)) != len(axes):
        raise InputError(f"axes='{axes}' repeats a letter; {expected}")
    if set(axes) - {"C"} != set(spatial):
        raise InputError(f"axes='{axes}' does not fit a {ndim}D model; {expected}")


def _channels_first(array: npt.NDArray[Any], letters: str) -> npt.NDArray[Any]:
    spatial = _SPATIAL[len(letters.replace("C", ""))]
    if "C" not in letters:
        return _channels_first(array[np.newaxis], "C" + letters)
    return np.transpose(array, [letters.index(letter) for letter in "C" + spatial])


# --- channels and values ----------------------------------------------------------------------------------


def _fit_channels(view: npt.NDArray[Any], channels: int, has_alpha: bool, letters: str) -> npt.NDArray[Any]:
    count = view.shape[0]
    if count != channels and (has_alpha or (count, channels) == (4, 3)):
        logger.info("the image has %d channels; the last one, alpha, is dropped", count)
        view = view[:-1]
    if (view.shape[0], channels) == (1, 3):
        logger.info("the image has one channel; it is repeated for the three channels of the model")
        return np.broadcast_to(view, (channels, *view.shape[1:]))
    if view.shape[0] != channels:
        raise InputError(
            f"image of {count} channel(s) (axes {letters}) for a model of {channels}; expected {channels}; "
            "select channels, or pass axes if another axis holds them, e.g. "
            f"axes='{'C' + letters.replace('C', '')}'"
        )
    return view


def _as_float32(view: npt.NDArray[Any], source: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    values = np.empty(view.shape, dtype=np.float32)
    # Values that do not convert are found below and refused; a warning would only come first.
    with np.errstate(all="ignore"):
        for target, channel in zip(values, view, strict=True):
            target[...] = channel
    if view.dtype.kind == "f" and not np.isfinite(values).all():
        raise _not_finite(source, "image")
    return values


def _not_finite(array: npt.NDArray[Any], what: str) -> InputError:
    """Return the error for values that are not finite in float32, with positions as in the source."""
    with np.errstate(all="ignore"):
        bad = ~np.isfinite(array.astype(np.float32))
    first = tuple(int(i) for i in np.unravel_index(int(bad.argmax()), bad.shape))
    return InputError(
        f"{what} has {int(bad.sum())} value(s) that are not finite in float32, the first ({array[first]}) "
        f"at index {first}; expected finite numbers; replace or rescale them"
    )
