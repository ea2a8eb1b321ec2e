"""Images: properties that hold for every dtype, memory layout, container and order of axes."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.image import as_image
from pixel_embedded_affinity.io.read import read_image
from pixel_embedded_affinity.labels import as_foreground
from pixel_embedded_affinity.normalize import Normalization, normalize

Array = np.ndarray[Any, Any]

DTYPES = ["?", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", "g"]

LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "contiguous": lambda array: array,
    "fortran": np.asfortranarray,
    "negative strides": lambda array: array[::-1, ::-1].copy()[::-1, ::-1],
    "every other pixel": lambda array: array.repeat(2, axis=0).repeat(3, axis=1)[::2, ::3],
    "big endian": lambda array: array.astype(array.dtype.newbyteorder(">")),
    "little endian": lambda array: array.astype(array.dtype.newbyteorder("<")),
    "transposed memory": lambda array: np.ascontiguousarray(array.T).T,
    "broadcast": lambda array: np.broadcast_to(array[:1], array.shape),
    "unaligned": lambda array: np.ndarray(
        array.shape, array.dtype, np.frombuffer(b"\0" + array.tobytes(), np.uint8), offset=1
    ),
}


def numbers(shape: Any) -> st.SearchStrategy[Array]:
    """Arrays of every numeric dtype with values that float32 can hold."""

    def elements(dtype: str) -> st.SearchStrategy[Array]:
        kind = np.dtype(dtype)
        floats = st.floats(-60000, 60000, width=16)
        return hnp.arrays(kind, shape, elements=floats if kind.kind == "f" else hnp.from_dtype(kind))

    return st.sampled_from(DTYPES).flatmap(elements)


def snapshot(array: Array) -> tuple[Any, ...]:
    return array.tobytes(), array.dtype, array.shape, array.strides, array.flags.writeable


@settings(deadline=None, max_examples=100)
@given(data=st.data(), layout=st.sampled_from(sorted(LAYOUTS)))
def test_every_dtype_and_layout_gives_the_values_of_each_pixel(data: st.DataObject, layout: str) -> None:
    source = LAYOUTS[layout](data.draw(numbers(hnp.array_shapes(min_dims=2, max_dims=2, max_side=5))))
    before = snapshot(source)
    values = as_image(source, channels=1).values
    assert values.dtype == np.float32
    assert values.flags.c_contiguous
    assert values.dtype.isnative
    assert not np.shares_memory(values, source)
    for index in np.ndindex(source.shape):
        assert values[0][index] == np.float32(source[index])
    assert snapshot(source) == before


@settings(deadline=None, max_examples=50)
@given(source=numbers((3, 4)))
def test_read_only_source_is_an_image_that_can_be_written_to(source: Array) -> None:
    source.flags.writeable = False
    image = as_image(source, channels=1)
    image.values[...] = 0
    np.testing.assert_array_equal(image.values, 0)


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_order_of_axes_changes_nothing_but_the_place(data: st.DataObject) -> None:
    ndim = data.draw(st.sampled_from([2, 3]))
    spatial = "ZYX"[-ndim:]
    canonical = data.draw(numbers(hnp.array_shapes(min_dims=ndim + 1, max_dims=ndim + 1, max_side=4)))
    axes = "".join(data.draw(st.permutations("C" + spatial)))
    source = canonical.transpose([("C" + spatial).index(letter) for letter in axes])
    image = as_image(source, axes=axes, channels=len(canonical), ndim=ndim)
    np.testing.assert_array_equal(image.values, canonical.astype(np.float32))
    assert image.source_axes == axes


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_labels_go_to_the_order_of_the_source_and_back(data: st.DataObject) -> None:
    ndim = data.draw(st.sampled_from([2, 3]))
    spatial = "".join(data.draw(st.permutations("ZYX"[-ndim:])))
    source = data.draw(numbers(hnp.array_shapes(min_dims=ndim, max_dims=ndim, max_side=4)))
    image = as_image(source, axes=spatial, channels=1, ndim=ndim)
    restored = image.to_source_order(image.values[0])
    np.testing.assert_array_equal(restored, source.astype(np.float32))
    np.testing.assert_array_equal(image.from_source_order(restored), image.values[0])


@settings(deadline=None, max_examples=40)
@given(axes=st.text("CZYXTScx", max_size=5), shape=hnp.array_shapes(max_dims=5, max_side=3))
def test_any_axes_are_either_exactly_right_or_refused(axes: str, shape: tuple[int, ...]) -> None:
    right = {"".join(order) for letters in ("YX", "CYX") for order in itertools.permutations(letters)}
    # A movie of one frame is an image.
    single = len(axes) == len(shape) and axes.count("T") == 1 and shape[axes.index("T")] == 1
    fits = (axes.replace("T", "") if single else axes) in right and len(axes) == len(shape)
    channels = shape[axes.index("C")] if fits and "C" in axes else 1
    if fits:
        assert as_image(np.zeros(shape), axes=axes, channels=channels).values.shape[0] == channels
    else:
        with pytest.raises(InputError, match=r"axes=|choose one by time=0"):
            as_image(np.zeros(shape), axes=axes, channels=1)


@settings(deadline=None, max_examples=40)
@given(source=numbers(hnp.array_shapes(min_dims=2, max_dims=3, max_side=4)))
def test_foreground_is_true_exactly_where_the_source_is_not_zero(source: Array) -> None:
    if source.dtype.kind == "f":
        source = (source > source.mean()).astype(source.dtype)
    before = snapshot(source)
    foreground = as_foreground(source, source.shape)
    assert foreground.dtype == np.bool_
    assert all(bool(foreground[index]) == (source[index] != 0) for index in np.ndindex(source.shape))
    assert snapshot(source) == before


# --- containers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["u1", ">u2", "f4", "<f8"])
def test_memmap_is_an_image(tmp_path: Path, dtype: str) -> None:
    stored = np.arange(20).reshape(4, 5).astype(dtype)
    stored.tofile(tmp_path / "raw")
    source = np.memmap(tmp_path / "raw", dtype=dtype, mode="r", shape=(4, 5))
    image = as_image(source, channels=1)
    assert type(image.values) is np.ndarray
    np.testing.assert_array_equal(image.values[0], stored)
    assert (tmp_path / "raw").read_bytes() == stored.tobytes()


@pytest.mark.parametrize(
    "dtype", ["uint8", "int8", "int16", "int32", "int64", "bool", "float16", "bfloat16", "float32", "float64"]
)
def test_tensor_is_an_image_whatever_its_dtype_and_strides(dtype: str) -> None:
    torch = pytest.importorskip("torch")
    tensor = (torch.arange(20).reshape(4, 5) % 7).to(getattr(torch, dtype))
    before = tensor.clone()
    expected = tensor.to(torch.float32).numpy()
    np.testing.assert_array_equal(as_image(tensor, channels=1).values[0], expected)
    np.testing.assert_array_equal(as_image(tensor.T, axes="XY", channels=1).values[0], expected)
    np.testing.assert_array_equal(as_image(tensor[:, ::2], channels=1).values[0], expected[:, ::2])
    assert torch.equal(tensor, before)


def test_tensor_that_records_gradients_is_an_image_of_its_own_memory() -> None:
    torch = pytest.importorskip("torch")
    tensor = torch.zeros(4, 5, requires_grad=True)
    as_image(tensor, channels=1).values[...] = 1
    assert not tensor.detach().any()


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_zarr_array_is_an_image(dtype: str) -> None:
    zarr = pytest.importorskip("zarr")
    stored = np.arange(60).reshape(4, 5, 3).astype(dtype)
    source = zarr.create_array({}, shape=stored.shape, chunks=(2, 2, 3), dtype=dtype)
    source[...] = stored
    np.testing.assert_array_equal(as_image(source, channels=3).values, np.moveaxis(stored, -1, 0))
    np.testing.assert_array_equal(source[...], stored)


def test_hdf5_dataset_is_an_image(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    stored = np.arange(20, dtype=">i2").reshape(4, 5)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        source = file.create_dataset("image", data=stored)
        np.testing.assert_array_equal(as_image(source, channels=1).values[0], stored)


@settings(deadline=None, max_examples=25)
@given(
    data=st.data(),
    dtype=st.sampled_from(["u1", "u2", "u4", "i2", "f4", "f8"]),
    compression=st.sampled_from([None, "zlib"]),
    byteorder=st.sampled_from(["<", ">"]),
)
def test_tiff_comes_back_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory,
    data: st.DataObject,
    dtype: str,
    compression: str | None,
    byteorder: Literal["<", ">"],
) -> None:
    import tifffile

    shape = data.draw(hnp.array_shapes(min_dims=2, max_dims=2, max_side=9))
    floats = st.floats(-(2.0**99), 2.0**99, width=32)
    elements = floats if dtype[0] == "f" else hnp.from_dtype(np.dtype(dtype))
    source = data.draw(hnp.arrays(dtype, shape, elements=elements))
    path = tmp_path_factory.mktemp("tiff") / "a.tif"
    tifffile.imwrite(path, source, compression=compression, byteorder=byteorder)
    read = read_image(path)
    assert read.dtype == source.dtype
    np.testing.assert_array_equal(read, source)


# --- normalization ----------------------------------------------------------------------------------------

IMAGES = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=4, max_side=6),
    elements=st.floats(-65536, 65536, width=32) | st.integers(0, 3).map(float),
)


def limits_of(values: Array, lower: float, upper: float) -> tuple[float, float]:
    low, high = np.percentile(values.astype(np.float64), [lower, upper])
    return float(low), float(high)


@settings(deadline=None, max_examples=100)
@given(
    values=IMAGES,
    percentiles=st.tuples(st.floats(0, 100), st.floats(0, 100))
    .map(sorted)
    .filter(lambda pair: pair[0] < pair[1]),
)
def test_normalization_is_that_of_exact_percentiles(values: Array, percentiles: list[float]) -> None:
    before = snapshot(values)
    low, high = limits_of(values, *percentiles)
    # Between percentiles that nearly coincide, the rounding of float32 is all that is left; older NumPy (2.0) also
    # rounds the place of a percentile among the values.
    assume(high == low or high - low > 1e-3 * max(float(np.abs(values).max()), 1e-30))
    result = normalize(values, Normalization(lower=percentiles[0], upper=percentiles[1]))
    assert result.dtype == np.float32
    assert result.shape == values.shape
    assert not np.shares_memory(result, values)
    if high > low:
        np.testing.assert_allclose(
            result, (values.astype(np.float64) - low) / (high - low), rtol=1e-3, atol=1e-3
        )
    else:
        assert not result.any()
    assert snapshot(values) == before


@settings(deadline=None, max_examples=50)
@given(values=IMAGES, seed=st.integers(0, 1000))
def test_normalization_does_not_know_where_a_pixel_lies(values: Array, seed: int) -> None:
    order = np.random.default_rng(seed).permutation(values.size)
    shuffled = values.ravel()[order].reshape(values.shape)
    normalization = Normalization(lower=5.0, upper=95.0)
    np.testing.assert_array_equal(
        normalize(shuffled, normalization).ravel(), normalize(values, normalization).ravel()[order]
    )


@settings(deadline=None, max_examples=50)
@given(values=hnp.arrays(np.float32, (1, 5, 6), elements=st.integers(0, 255)), gain=st.integers(1, 16))
def test_normalization_removes_gain_and_offset_of_the_camera(values: Array, gain: int) -> None:
    normalization = Normalization()
    np.testing.assert_allclose(
        normalize(values * np.float32(gain) + np.float32(100), normalization),
        normalize(values, normalization),
        # Of values with almost no contrast, float32 rounds the percentiles by that much of it.
        rtol=1e-4,
        atol=1e-4,
    )


@settings(deadline=None, max_examples=60)
@given(
    values=hnp.arrays(
        np.float32, (2, 3, 4), elements=st.floats(allow_nan=False, allow_infinity=False, width=32)
    )
)
@example(
    values=np.array([-2e38, 2e38, *[0] * 10], dtype=np.float32).reshape(1, 3, 4)
)  # a span beyond float32
def test_normalization_of_any_finite_image_is_finite_or_refused(values: Array) -> None:
    low, high = np.percentile(values.astype(np.float64), [1, 99.8])
    with np.errstate(over="ignore"):
        flat = np.float32(high - low) == 0
    exact = np.zeros(1) if flat else (values.astype(np.float64) - low) / (high - low)
    try:
        result = normalize(values, Normalization())
    except InputError:
        refused_for_a_reason = max(abs(exact).max(), np.ptp(values.astype(np.float64))) > 1e37
        assert refused_for_a_reason
    else:
        assert np.isfinite(result).all()
