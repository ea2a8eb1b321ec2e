"""Affinities: their values on known embeddings, their kind and shape, and what is refused."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from pixel_embedded_affinity import affinity
from pixel_embedded_affinity.affinity import Affinities, affinities, number_step, pair_boxes
from pixel_embedded_affinity.embedding import Embedding
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.inference.torch_runtime import unit_length
from pixel_embedded_affinity.neighborhood import Neighborhood

PLANE = Neighborhood.from_ranges([1, 3])
VOLUME = Neighborhood.from_ranges([1, 2], 6)


def random_embedding(*shape: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def refusal(embedding: Any, neighborhood: Any = PLANE) -> str:
    with pytest.raises(InputError) as caught:
        affinities(embedding, neighborhood)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- values -----------------------------------------------------------------------------------------------


def test_affinity_is_the_cosine_of_the_angle_between_two_embeddings() -> None:
    embedding = np.array([[[2.0, 0.0, -3.0, 1.0]], [[0.0, 5.0, 0.0, 1.0]]])
    found = affinities(embedding, Neighborhood([(0, 1), (0, -2)]))
    np.testing.assert_allclose(found.values[0], [[0, 0, -(0.5**0.5), 0]], atol=1e-7)
    np.testing.assert_allclose(found.values[1], [[0, 0, -1, 0.5**0.5]], atol=1e-7)


def test_values_belong_to_the_pixel_from_which_the_offset_starts() -> None:
    embedding = np.ones((1, 3, 4))
    embedding[0, 1, 2] = -1
    values = affinities(embedding, Neighborhood([(1, 1)])).values[0]
    expected = np.array([[1, -1, 1, 0], [1, 1, -1, 0], [0, 0, 0, 0]])
    np.testing.assert_array_equal(values, expected)


def test_a_zero_vector_is_similar_to_nothing_not_even_to_another_one() -> None:
    embedding = random_embedding(3, 2, 3)
    embedding[:, :, 1] = 0
    found = affinities(embedding, Neighborhood([(0, 1), (1, 0)]))
    np.testing.assert_array_equal(found.values[0], 0)
    np.testing.assert_array_equal(found.values[1][0] != 0, [True, False, True])


@pytest.mark.parametrize("factor", [1e-300, 1e-40, 1e-25, 1e25, 1e300])
def test_vectors_of_any_length_count_the_same(factor: float) -> None:
    embedding = random_embedding(4, 5, 6).astype(np.float64)
    expected = affinities(embedding, PLANE).values
    np.testing.assert_allclose(affinities(embedding * factor, PLANE).values, expected, atol=1e-6)


@pytest.mark.parametrize("factor", [1e-30, 1e30])
def test_vectors_of_any_length_count_the_same_in_single_precision(factor: float) -> None:
    embedding = random_embedding(4, 5, 6)
    expected = affinities(embedding, PLANE).values
    scaled = embedding * np.float32(factor)
    np.testing.assert_allclose(affinities(scaled, PLANE).values, expected, atol=1e-6)


def test_no_value_leaves_the_range_of_a_cosine() -> None:
    embedding = np.full((16, 30, 30), 0.1, np.float32)
    values = affinities(embedding, PLANE).values
    assert values.max() <= 1
    assert values.max() == pytest.approx(1)
    assert affinities(np.stack([embedding[0], -embedding[0]]), PLANE).values.min() >= -1


def test_pairs_that_leave_the_image_are_zero_and_not_valid() -> None:
    found = affinities(np.ones((2, 3, 4)), Neighborhood([(-2, 1)]))
    expected = np.zeros((1, 3, 4), bool)
    expected[0, 2, :3] = True
    np.testing.assert_array_equal(found.valid, expected)
    np.testing.assert_allclose(found.values, expected, atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 1), (2, 2)])
def test_ranges_longer_than_the_image_have_no_valid_pair(shape: tuple[int, int]) -> None:
    far = Neighborhood([(5, 0), (0, -5), (-7, 9), (0, 10**12)])
    found = affinities(np.ones((2, *shape)), far)
    assert not found.valid.any()
    assert not found.values.any()


# --- kinds ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4", ">f8", "longdouble"])
def test_numpy_gives_numpy_of_single_precision(dtype: str) -> None:
    embedding = random_embedding(4, 5, 6).astype(dtype)
    found = affinities(embedding, PLANE)
    assert isinstance(found.values, np.ndarray)
    assert found.values.dtype == np.float32
    assert found.values.shape == (4, 5, 6)
    assert isinstance(found.valid, np.ndarray)
    assert found.valid.dtype == np.bool_
    assert isinstance(found.embedding, np.ndarray)
    reference = affinities(embedding.astype(np.float32), PLANE).values
    np.testing.assert_allclose(found.values, reference, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_torch_gives_torch_of_single_precision(dtype: torch.dtype) -> None:
    embedding = torch.from_numpy(random_embedding(4, 5, 6)).to(dtype)
    found = affinities(embedding, PLANE)
    assert isinstance(found.values, torch.Tensor)
    assert found.values.dtype == torch.float32
    assert isinstance(found.valid, torch.Tensor)
    assert found.valid.dtype == torch.bool
    assert isinstance(found.embedding, torch.Tensor)
    reference = affinities(embedding.float().numpy(), PLANE)
    np.testing.assert_allclose(found.values.numpy(), reference.values, atol=1e-6)
    np.testing.assert_array_equal(found.valid.numpy(), reference.valid)


def test_the_result_of_the_network_is_taken_as_it_is() -> None:
    values = unit_length(torch.from_numpy(random_embedding(4, 5, 6)))
    found = affinities(Embedding(values), PLANE)
    assert found.embedding is values
    np.testing.assert_allclose(found.values.numpy(), affinities(values.numpy(), PLANE).values, atol=1e-6)


def test_numpy_form_holds_the_same_numbers() -> None:
    found = affinities(torch.from_numpy(random_embedding(4, 5, 6)), PLANE)
    arrays = found.numpy()
    assert isinstance(arrays.values, np.ndarray)
    assert isinstance(arrays.embedding, np.ndarray)
    np.testing.assert_array_equal(arrays.values, found.values.numpy())
    np.testing.assert_array_equal(arrays.valid, found.valid.numpy())
    assert arrays.neighborhood == found.neighborhood
    assert arrays.spatial_shape == found.spatial_shape == (5, 6)
    assert Affinities(arrays.values, PLANE).numpy().embedding is None


def test_the_unit_embedding_comes_along() -> None:
    embedding = affinities(random_embedding(4, 5, 6) * 7, PLANE).embedding
    np.testing.assert_allclose(np.linalg.norm(embedding, axis=0), 1, atol=1e-6)


@pytest.mark.parametrize("shape", [(3, 4, 5), (3, 2, 4, 5)])
def test_planes_and_volumes_take_one_path(shape: tuple[int, ...]) -> None:
    neighborhood = PLANE if len(shape) == 3 else VOLUME
    found = affinities(random_embedding(*shape), neighborhood)
    assert found.values.shape == found.valid.shape == (len(neighborhood), *shape[1:])


@pytest.mark.parametrize(
    "layout",
    [
        np.asfortranarray,
        lambda array: array[:, ::-1, ::-1].copy()[:, ::-1, ::-1],
        lambda array: array.repeat(2, axis=2)[:, :, ::2],
        lambda array: np.moveaxis(np.moveaxis(array, 0, -1).copy(), -1, 0),
    ],
    ids=["fortran", "negative strides", "every other pixel", "channels last"],
)
def test_memory_layout_does_not_matter(layout: Any) -> None:
    embedding = random_embedding(4, 5, 6)
    expected = affinities(embedding, PLANE).values
    np.testing.assert_allclose(affinities(layout(embedding), PLANE).values, expected, atol=1e-6)


def test_the_embedding_is_never_modified() -> None:
    embedding = random_embedding(4, 5, 6)
    before = embedding.copy()
    embedding.setflags(write=False)
    affinities(embedding, PLANE)
    np.testing.assert_array_equal(embedding, before)
    for dtype in (torch.float32, torch.float64):
        tensor = torch.from_numpy(before.copy()).to(dtype)
        affinities(tensor, PLANE)
        assert torch.equal(tensor, torch.from_numpy(before).to(dtype))


def test_a_tensor_that_tracks_gradients_is_taken_without_them() -> None:
    tensor = torch.from_numpy(random_embedding(4, 5, 6)).requires_grad_()
    found = affinities(tensor, PLANE)
    assert not found.values.requires_grad
    assert not affinities(Embedding(unit_length(tensor)), PLANE).values.requires_grad


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_a_tensor_on_a_gpu_gives_tensors_there_with_the_values_of_the_cpu() -> None:
    embedding = torch.from_numpy(random_embedding(16, 50, 60))
    found = affinities(embedding.cuda(), PLANE)
    assert found.values.is_cuda
    assert found.valid.is_cuda
    expected = affinities(embedding, PLANE)
    np.testing.assert_allclose(found.numpy().values, expected.values.numpy(), atol=1e-6)


# --- on demand --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
def test_a_part_of_a_channel_is_that_part_of_the_values_in_their_kind(kind: Any) -> None:
    found = affinities(kind(random_embedding(4, 5, 6)), PLANE)
    where = (slice(1, 5, 2), slice(3, 6))
    part, whole = found.channel(1, where), found.channel(1)
    assert type(part) is type(whole) is type(found.values)
    np.testing.assert_array_equal(np.asarray(part), np.asarray(found.values)[1][where])
    np.testing.assert_array_equal(np.asarray(whole), np.asarray(found.values)[1])
    np.testing.assert_array_equal(np.asarray(found.channel(1, where)), np.asarray(part))
    assert isinstance(found.numpy().channel(np.int64(3)), np.ndarray)


@pytest.mark.parametrize("form", ["computed", "kept", "given"])
@pytest.mark.parametrize("neighborhood", [PLANE, VOLUME])
def test_affinities_that_start_at_some_pixels_are_those_of_the_channel(
    neighborhood: Neighborhood, form: str
) -> None:
    shape = (7, 9) if neighborhood.ndim == 2 else (4, 5, 6)
    found = affinities(random_embedding(3, *shape), neighborhood)
    if form == "given":
        found = Affinities(found.values, neighborhood)
    elif form == "kept":
        assert found.values.shape == (len(neighborhood), *shape)
    numbers = np.arange(np.prod(shape)).reshape(shape)
    for channel, offset in enumerate(neighborhood.offsets):
        here, there = pair_boxes(shape, offset)
        first = numbers[here].ravel()[::3]
        second = numbers[there].ravel()[::3]
        assert (second - first == number_step(shape, offset)).all()
        expected = np.ravel(found.channel(channel))[first]
        np.testing.assert_array_equal(found.starting_at(channel, first), expected)


def most_memory(function: Callable[[], object]) -> int:
    """Most bytes that NumPy and Python held on top while a function ran."""
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def few_pixels(*shape: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    foreground = np.zeros(shape, bool)
    foreground[:5, :5] = True
    return foreground


def test_only_what_is_asked_for_is_computed() -> None:
    found = affinities(random_embedding(2, 100, 100), Neighborhood.from_ranges(range(1, 101)))
    foreground = few_pixels(100, 100)

    def ask() -> None:
        found.channel(0)
        found.pairs(0)
        found.pairs(0, foreground)
        found.numpy().pairs(0, ~foreground)

    assert most_memory(ask) < found.values.nbytes / 4


@pytest.mark.parametrize("channels", ["first", "last"])
def test_the_embedding_is_not_copied_wherever_its_channels_lie_in_memory(channels: str) -> None:
    unit = np.asarray(affinities(random_embedding(64, 60, 80), PLANE).embedding)
    if channels == "last":
        unit = np.moveaxis(np.moveaxis(unit, 0, -1).copy(), -1, 0)
    found, foreground = Affinities(None, PLANE, unit), few_pixels(60, 80)
    assert most_memory(lambda: (found.channel(0), found.pairs(1, foreground))) < unit.nbytes / 2


def test_what_was_computed_is_kept_also_in_the_numpy_form() -> None:
    found = affinities(torch.from_numpy(random_embedding(4, 5, 6)), PLANE)
    values = found.values
    assert found.values is values
    assert np.shares_memory(found.numpy().values, values.numpy())
    assert np.shares_memory(found.numpy().channel(2), values.numpy())


def test_given_values_come_before_those_of_the_embedding() -> None:
    values = np.full((4, 5, 6), 0.25, np.float32)
    for given in (values, torch.from_numpy(values)):
        found = Affinities(given, PLANE, affinities(random_embedding(4, 5, 6), PLANE).embedding)
        assert found.values is given
        for same in (found, found.numpy()):
            assert same.is_given
            np.testing.assert_array_equal(np.asarray(same.channel(0)), values[0])
            np.testing.assert_array_equal(same.pairs(0).affinity, np.full(24, 0.25))
            np.testing.assert_array_equal(same.pairs(0, np.ones((5, 6), bool)).affinity, np.full(24, 0.25))
            assert isinstance(same.embedding, np.ndarray)
    assert isinstance(found.numpy().values, np.ndarray)


def test_printed_they_show_where_the_values_come_from() -> None:
    found = affinities(random_embedding(4, 5, 6), PLANE)
    assert repr(found) == f"Affinities(on demand, spatial_shape=(5, 6), neighborhood={PLANE!r})"
    assert not found.is_given
    assert "given" in repr(Affinities(found.values, PLANE))


def test_rounding_takes_no_value_out_of_the_range_of_a_cosine() -> None:
    vectors = random_embedding(7, 50)
    embedding = np.stack([vectors, vectors, -vectors], 1)
    neighborhood = Neighborhood([(1, 0)])
    found = affinities(embedding, neighborhood)
    unit = np.asarray(found.embedding)
    assert np.einsum("dyx,dyx->yx", unit, unit).max() > 1
    on_device = affinity._all_products(torch.from_numpy(unit), neighborhood).numpy()
    for values in (found.values, on_device):
        assert values.max() == 1
        assert values.min() == -1


# --- overlap ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", range(1, 5))
@pytest.mark.parametrize("step", range(-6, 7))
def test_overlap_holds_exactly_the_pairs_inside(length: int, step: int) -> None:
    (here,), (there,) = pair_boxes((length,), (step,))
    pixels = np.arange(length)
    np.testing.assert_array_equal(pixels[here], [p for p in pixels if 0 <= p + step < length])
    np.testing.assert_array_equal(pixels[there], pixels[here] + step)


# --- refusals ---------------------------------------------------------------------------------------------


def test_neighborhood_of_another_dimension_is_refused() -> None:
    assert refusal(random_embedding(3, 4, 5), VOLUME) == (
        "embedding has shape (3, 4, 5), the neighborhood 3 spatial axes; expected an embedding (D, *spatial) "
        "with 3 spatial axes"
    )
    refusal(random_embedding(3, 2, 4, 5), PLANE)
    refusal(torch.zeros(4, 5), PLANE)
    refusal(Embedding(torch.zeros(3, 4, 5)), VOLUME)


@pytest.mark.parametrize("shape", [(0, 4, 5), (3, 0, 5), (3, 4, 0)])
def test_an_empty_embedding_is_refused(shape: tuple[int, ...]) -> None:
    assert f"embedding has shape {shape}; expected at least one" in refusal(np.zeros(shape))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_values_that_are_not_finite_are_refused(value: float, dtype: str) -> None:
    embedding = random_embedding(3, 4, 5).astype(dtype)
    embedding[1, 2, 3] = value
    assert "NaN or infinite" in refusal(embedding)
    assert "NaN or infinite" in refusal(torch.from_numpy(embedding))


@pytest.mark.skipif(np.finfo(np.longdouble).max == np.finfo(np.float64).max, reason="long double is double")
def test_values_beyond_double_precision_are_refused_without_a_warning() -> None:
    huge = np.full((1, 2, 2), np.finfo(np.longdouble).max)
    assert "NaN or infinite" in refusal(huge)


@pytest.mark.parametrize("dtype", ["int64", "uint8", "bool", "complex64", "object", "U1"])
def test_numbers_of_another_kind_are_refused(dtype: str) -> None:
    assert "expected a floating-point type" in refusal(np.ones((3, 4, 5)).astype(dtype))


def test_tensors_of_another_kind_are_refused() -> None:
    assert "expected a floating-point type" in refusal(torch.ones(3, 4, 5, dtype=torch.int32))


def test_a_masked_array_is_refused_where_something_is_masked() -> None:
    embedding = np.ma.masked_greater(random_embedding(3, 4, 5), 0)
    assert "masked" in refusal(embedding)
    unmasked = np.ma.masked_array(random_embedding(3, 4, 5))
    assert affinities(unmasked, PLANE).values.shape == (4, 4, 5)


@pytest.mark.parametrize("embedding", [[[[1.0]]], None, "embedding.npy", 3.0])
def test_what_is_no_array_is_refused(embedding: Any) -> None:
    message = "must be an Embedding, a NumPy array or a torch tensor, got " + type(embedding).__name__
    assert message in refusal(embedding)


@pytest.mark.parametrize("neighborhood", [[1, 3], None, ((0, 1),)])
def test_what_is_no_neighborhood_is_refused(neighborhood: Any) -> None:
    message = refusal(random_embedding(3, 4, 5), neighborhood)
    assert "use Neighborhood.from_ranges" in message


def test_neither_values_nor_an_embedding_is_refused() -> None:
    with pytest.raises(InputError, match="need values or an embedding, got neither"):
        Affinities(None, PLANE)


@pytest.mark.parametrize("value", [-1.02, 1.02, -300, 300])
@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
def test_an_embedding_that_is_not_of_unit_length_is_refused(kind: Any, value: float) -> None:
    embedding = np.full((4, 5, 6), 0.5, np.float32)
    embedding[1, 2, 3] = value
    with pytest.raises(InputError, match="expected vectors of unit length; use affinities"):
        Affinities(None, PLANE, kind(embedding))


def test_unit_vectors_rounded_to_half_precision_are_taken() -> None:
    embedding = torch.zeros(4, 5, 6, dtype=torch.bfloat16)
    embedding[0] = -1.0078125  # the next number after -1
    assert np.asarray(Affinities(None, PLANE, embedding).channel(0)).max() == 1


@pytest.mark.parametrize("channel", [-1, 4, True, 1.0, "0", None])
def test_a_channel_that_is_none_of_the_offsets_is_refused(channel: Any) -> None:
    found = affinities(random_embedding(4, 5, 6), PLANE)
    for function in (found.channel, found.pairs):
        with pytest.raises(InputError, match="channel must be an integer from 0 to 3, got"):
            function(channel)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        (slice(0, 3), "must be a tuple of 2 slices"),
        ((slice(0, 3),), "must be a tuple of 2 slices"),
        ((slice(0, 3),) * 3, "must be a tuple of 2 slices"),
        ([slice(0, 3), slice(0, 3)], "must be a tuple of 2 slices"),
        ((1, slice(0, 3)), "must be a tuple of 2 slices"),
        ((slice(0, 3, 0), slice(0, 3)), "must be a tuple of 2 slices"),
        ((slice(3, 0, -1), slice(0, 3)), "must hold slices with a step of at least 1"),
    ],
)
def test_a_part_that_is_no_box_is_refused(where: Any, message: str) -> None:
    found = affinities(random_embedding(4, 5, 6), PLANE)
    with pytest.raises(InputError, match=f"where {message}"):
        found.channel(0, where)


@pytest.mark.parametrize(
    "foreground", [np.ones((6, 5), bool), np.ones((1, 6), bool), np.ones((5, 6), np.uint8)]
)
def test_a_foreground_of_another_shape_or_type_is_refused(foreground: Any) -> None:
    found = affinities(random_embedding(4, 5, 6), PLANE)
    with pytest.raises(InputError, match=r"foreground must be bool of shape \(5, 6\), got"):
        found.pairs(0, foreground)
