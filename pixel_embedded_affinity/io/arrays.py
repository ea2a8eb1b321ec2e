"""Turn arrays of any kind into NumPy arrays of numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pixel_embedded_affinity.errors import InputError, one_line

FloatArray = npt.NDArray[np.float32]


def opened(source: Any, what: str) -> Any:
    """Return the source as an object with ``shape``, without loading lazy arrays."""
    # `numeric` refuses records, whose mask is one of records, for their type.
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
    if isinstance(source, (list, tuple)) or _is_convertible(source):
        return _to_numpy(source, what)
    raise InputError(
        f"{what} of type {type(source).__name__}; expected an array (NumPy, torch, zarr, dask, h5py) or "
        "nested lists of numbers; convert it, e.g. by numpy.asarray"
    )


def _is_convertible(source: Any) -> bool:
    """Whether NumPy takes a source as an array: of Pillow's images, those whose values are intensities or colors."""
    if hasattr(source, "__array_interface__") and hasattr(source, "mode"):
        return source.mode in ("L", "I;16", "I", "F", "RGB", "RGBA")
    return hasattr(source, "__array__")


def _check_shape(source: Any, what: str) -> None:
    """Refuse a shape that is no tuple of lengths, as an array of another library may have."""
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
        convertible = isinstance(source, (list, tuple)) or _is_convertible(source)
        return np.asarray(source if convertible else source[...])
    except InputError:  # a source of our own says what is wrong
        raise
    # An array of another library may read a file or a network, and raise nearly anything.
    except Exception as error:
        raise _not_an_array(source, what, error) from error


def _not_an_array(source: Any, what: str, error: BaseException) -> InputError:
    return InputError(
        f"{what} of type {type(source).__name__} does not convert into an array of numbers "
        f"({one_line(error)}); expected one number per pixel in a regular grid; convert it to a NumPy "
        "array first"
    )


def numeric(source: Any, what: str) -> npt.NDArray[Any]:
    """Load what `opened` gives as a NumPy array of numbers or bools."""
    array = _to_numpy(source, what)
    if array.shape != tuple(source.shape):
        raise InputError(
            f"{what} of type {type(source).__name__} has shape {tuple(source.shape)}, but gives values of shape "
            f"{array.shape}; expected equal shapes; convert it into a NumPy array first"
        )
    if array.dtype.kind not in "biuf":
        raise InputError(
            f"{what} of dtype {array.dtype}; expected an integer, float or bool dtype; convert it to one, "
            "e.g. by .astype"
        )
    return array


def not_finite(array: npt.NDArray[Any], what: str) -> InputError:
    """Return the error for values that are not finite in float32, with positions as in the source."""
    with np.errstate(all="ignore"):
        bad = ~np.isfinite(array.astype(np.float32))
    first = tuple(int(i) for i in np.unravel_index(int(bad.argmax()), bad.shape))
    return InputError(
        f"{what} has {int(bad.sum())} value(s) that are not finite in float32, the first ({array[first]}) "
        f"at index {first}; expected finite numbers; replace or rescale them"
    )
