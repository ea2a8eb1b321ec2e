"""Corrections by `Segmenter.cluster`: what strokes do to known scenes, and what is refused."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_dilation

from pixel_embedded_affinity import samples
from pixel_embedded_affinity.clustering import MutexWatershed, list_clusterers
from pixel_embedded_affinity.embedding import Embedding
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.labels import relabel
from pixel_embedded_affinity.links import Held
from pixel_embedded_affinity.neighborhood import Neighborhood
from pixel_embedded_affinity.postprocess import (
    Postprocess,
    clear_border,
    merge_alike,
    merge_fragments,
    merge_thin,
    remove_small,
    remove_uncertain,
)
from pixel_embedded_affinity.segmenter import Segmenter
from pixel_embedded_affinity.testing import synthetic_embedding


def scene() -> tuple[Embedding, np.ndarray]:
    """Two objects that look like one, and one that looks like two, on background."""
    truth = np.zeros((24, 40), np.int32)
    truth[2:10, 2:20] = 1
    truth[14:22, 2:12] = 2
    truth[14:22, 12:22] = 3
    vectors = torch.from_numpy(synthetic_embedding(truth, noise=0.05))
    return Embedding(vectors, torch.from_numpy((truth > 0).astype(np.float32))), truth


@pytest.fixture
def plain(segmenter: Segmenter) -> Segmenter:
    neighborhood = Neighborhood.from_ranges([1, 3, 9], 4)
    return segmenter.with_settings(neighborhood=neighborhood, postprocess=Postprocess())


def test_a_stroke_through_two_objects_makes_them_one(plain: Segmenter) -> None:
    embedding, truth = scene()
    np.testing.assert_array_equal(plain.cluster(embedding), truth)
    labels = plain.cluster(embedding, same=[[(18, 5), (18, 17)]])
    np.testing.assert_array_equal(labels, np.where(truth == 3, 2, truth))


def test_two_strokes_cut_an_object_in_two(plain: Segmenter) -> None:
    embedding, truth = scene()
    left, right = [(row, 4) for row in range(2, 10)], [(row, 17) for row in range(2, 10)]
    labels = plain.cluster(embedding, different=[(left, right)])
    assert labels.max() == 4
    assert labels[5, 4] != labels[5, 17]
    np.testing.assert_array_equal(labels > 0, truth > 0)
    assert len(np.unique(labels[truth == 1])) == 2
    assert len(np.unique(labels[truth == 2])) == len(np.unique(labels[truth == 3])) == 1


def test_pixels_of_a_stroke_over_background_become_foreground_and_no_others(plain: Segmenter) -> None:
    embedding, truth = scene()
    labels = plain.cluster(embedding, same=[[(12, 30), (12, 31)]])
    assert np.argwhere((labels > 0) & (truth == 0)).tolist() == [[12, 30], [12, 31]]
    labels = plain.cluster(embedding, same=[[(5, 5), (12, 30)]], foreground=np.zeros(truth.shape, bool))
    assert np.argwhere(labels).tolist() == [[5, 5], [12, 30]]


def test_without_a_foreground_objects_are_everywhere(plain: Segmenter) -> None:
    embedding, _ = scene()
    everywhere = Embedding(embedding.values)
    labels = plain.cluster(everywhere, same=[[(5, 5), (18, 5)]])
    assert labels[5, 5] == labels[18, 5] != labels[0, 0]


def test_a_marked_object_is_neither_removed_nor_merged_into_another(plain: Segmenter) -> None:
    embedding, truth = scene()
    strict = Postprocess(min_size=100, merge_sizes=(90,), merge_radii=(20,), clear_border=True)
    changed = plain.with_settings(postprocess=strict)
    assert changed.cluster(embedding).max() == 2  # the second and the third are one
    labels = changed.cluster(embedding, different=[((18, 5), (18, 17))])
    np.testing.assert_array_equal(labels, truth)


def test_an_object_may_be_cut_into_any_number_of_pieces(plain: Segmenter) -> None:
    embedding, _ = scene()
    ends = [[(row, column) for row in range(2, 10)] for column in (3, 11, 18)]
    labels = plain.cluster(embedding, different=[(ends[0], ends[1]), (ends[1], ends[2])])
    assert labels[5, 3] != labels[5, 11] != labels[5, 18]
    # Nothing says that the first and the last are different, but they do not touch.
    assert labels[5, 3] != labels[5, 18]
    labels = plain.cluster(embedding, same=[[(5, 3), (5, 18)]], different=[(ends[0], ends[1])])
    assert labels[5, 3] == labels[5, 18] != labels[5, 11]


def test_strokes_that_one_object_joins_are_one_in_each_object(plain: Segmenter) -> None:
    embedding, _ = scene()
    labels = plain.cluster(embedding, same=[[(5, 5), (12, 30)], [(18, 5), (5, 10)]])
    assert labels[5, 5] == labels[12, 30] == labels[18, 5]
    assert labels.max() == 2


def test_an_object_that_strokes_claim_against_each_other_is_cut_in_every_place(plain: Segmenter) -> None:
    embedding, _ = scene()
    # The two go through the first object and through the second.
    one, other = [(5, 4), (18, 4)], [(5, 17), (18, 9)]
    labels = plain.cluster(embedding, different=[(one, other)])
    assert labels[5, 4] == labels[18, 4] != labels[5, 17] == labels[18, 9]


@pytest.mark.parametrize("name", list_clusterers())
def test_corrections_change_the_objects_of_any_clusterer(plain: Segmenter, name: str) -> None:
    embedding, _ = scene()
    before = plain.cluster(embedding, clusterer=name)
    left, right = [(row, 4) for row in range(2, 10)], [(row, 17) for row in range(2, 10)]
    labels = plain.cluster(embedding, clusterer=name, same=[[(18, 5), (18, 17)]], different=[(left, right)])
    assert labels[18, 5] == labels[18, 17]
    assert labels[5, 4] != labels[5, 17]
    np.testing.assert_array_equal(labels > 0, before > 0)


def test_a_clusterer_without_repulsion_cuts_too(plain: Segmenter) -> None:
    embedding, _ = scene()
    settings = {"neighborhood": Neighborhood.nearest(8), "clusterer": "connected_components"}
    labels = plain.cluster(embedding, different=[((5, 3), (5, 18))], **settings)
    assert labels[5, 3] != labels[5, 18]
    assert labels.max() == 4


def test_to_cut_an_object_takes_attraction(plain: Segmenter) -> None:
    embedding, _ = scene()
    far = Neighborhood([(0, -5), (-5, 0)])
    one_object = lambda given, *, foreground=None: foreground.astype(np.int32)  # noqa: E731
    with pytest.raises(InputError, match="no attractive offset"):
        plain.cluster(embedding, different=[((5, 3), (5, 18))], neighborhood=far, clusterer=one_object)


def test_a_stroke_outside_the_image_is_refused_in_pixels_of_the_image(plain: Segmenter) -> None:
    embedding, _ = scene()
    with pytest.raises(
        InputError, match=re.escape("same[0] has pixel (24, 0) outside the image of shape (24, 40)")
    ):
        plain.cluster(embedding, same=[[(24, 0)]])


@pytest.mark.parametrize("apart", [[[3, 4]], [[3, 3]], [[3, 0]], [3, 7], [[3.0, 7.0]]])
def test_pairs_that_are_no_pairs_of_seeds_are_refused(apart) -> None:
    embedding, truth = scene()
    from pixel_embedded_affinity.affinity import affinities

    seeds = np.zeros(truth.shape, int)
    seeds[5, 5], seeds[18, 5] = 3, 7
    given = affinities(embedding, Neighborhood.from_ranges([1, 3], 4))
    with pytest.raises(InputError, match=r"apart must be integers \(M, 2\).*the seeds are \[3, 7\]"):
        MutexWatershed()(given, seeds=seeds, apart=np.array(apart))


# --- postprocessing -------------------------------------------------------------------------------------------

LABELS = np.array([[1, 1, 1, 2, 3, 3, 3, 3]] * 2 + [[0, 0, 0, 0, 0, 0, 4, 0]], np.int32)
SMALL = Held(np.array([3, 22]), np.array([[0, 1]]))  # objects 2 and 4


def test_held_objects_stay_in_each_step() -> None:
    assert merge_fragments(LABELS, [3]).max() == 2
    np.testing.assert_array_equal(merge_fragments(LABELS, [5], held=SMALL), LABELS)
    assert merge_thin(LABELS, [1.5]).max() < 4
    assert np.isin([2, 4], merge_thin(LABELS, [1.5], held=SMALL)).all()
    assert remove_small(LABELS, 7).max() == 1
    assert remove_small(LABELS, 7, held=SMALL).max() == 3
    assert clear_border(LABELS).max() == 0
    assert clear_border(LABELS, held=SMALL).max() == 2
    assert remove_uncertain(LABELS, [0.9, 0.1, 0.9, 0.1], 0.5).max() == 2
    assert remove_uncertain(LABELS, [0.9, 0.1, 0.9, 0.1], 0.5, held=SMALL).max() == 4


def test_others_may_join_a_held_object() -> None:
    labels = np.array([[1, 1, 2, 3, 3]], np.int32)
    merged = merge_fragments(labels, [3], held=Held(np.array([2]), np.zeros((0, 2), np.intp)))
    assert merged.tolist() == [[1, 1, 1, 1, 1]]


def test_alike_objects_that_are_apart_stay_so_also_through_others() -> None:
    labels = np.array([[1, 2, 3, 4]], np.int32)
    embedding = np.ones((1, 1, 4), np.float32)
    apart = Held(np.array([0, 3]), np.array([[0, 1]]))
    assert merge_alike(labels, embedding, 0.5).max() == 1
    merged = merge_alike(labels, embedding, 0.5, held=apart)
    assert merged[0, 0] != merged[0, 3]
    assert merged.max() == 2


# --- what a person sees counts, not the position below it ---------------------------------------------------


@pytest.fixture(scope="module", params=["nuclei", "bbbc039-fast", "neurons"])
def real(request: pytest.FixtureRequest) -> tuple[Segmenter, Embedding]:
    """A real image, whose borders lie between the positions of the embedding, which are up to 2 pixels apart."""
    segmenter = Segmenter.pretrained(request.param, device="cpu")
    if segmenter.config.ndim == 2:
        return segmenter, segmenter.embed(samples.nuclei().image[:160, 90:250], scale=1)
    sample = samples.neurons()
    return segmenter, segmenter.embed(
        sample.image[:8, :128, :128], scale="auto", pixel_size=sample.pixel_size
    )


def test_objects_with_all_their_pixels_as_strokes_stay_as_they_are(
    real: tuple[Segmenter, Embedding],
) -> None:
    segmenter, embedding = real
    before = segmenter.cluster(embedding)
    strokes = [np.argwhere(before == number) for number in range(1, before.max() + 1)]
    assert len(strokes) > 4
    np.testing.assert_array_equal(segmenter.cluster(embedding, same=strokes), before)
    for stroke in strokes:
        np.testing.assert_array_equal(segmenter.cluster(embedding, same=[stroke]), before)


def test_strokes_that_change_one_object_leave_all_others(real: tuple[Segmenter, Embedding]) -> None:
    """Strokes go up to the rim of each object, where positions belong to its neighbors."""
    segmenter, embedding = real
    before = segmenter.cluster(embedding)
    strokes = [np.argwhere(before == number) for number in range(1, before.max() + 1)]
    joined = [np.concatenate(strokes[:2]), *strokes[2:]]
    after = segmenter.cluster(embedding, same=joined)
    assert after.max() == before.max() - 1
    expected = relabel(np.where(before == 2, 1, before))
    changed = after != expected
    assert changed.mean() < 1e-3  # postprocessing sees a larger object, such as a hole between two
    assert np.isin(before[changed], [0, 1, 2]).all()


def test_clicks_anywhere_in_two_objects_make_them_one(real: tuple[Segmenter, Embedding]) -> None:
    """A click at the rim may lie on a fragment that postprocessing gave to the object."""
    segmenter, embedding = real
    before = segmenter.cluster(embedding)
    for one, other in ((1, 2), (3, 5), (2, 6)):
        pixels = [np.argwhere(before == number) for number in (one, other)]
        for place in (0, -1):
            after = segmenter.cluster(embedding, same=[[pixels[0][place], pixels[1][place]]])
            expected = relabel(np.where(before == other, one, before))
            assert after.max() == before.max() - 1
            assert (after != expected).mean() < 1e-3


def test_a_click_anywhere_in_an_object_changes_nothing(real: tuple[Segmenter, Embedding]) -> None:
    segmenter, embedding = real
    before = segmenter.cluster(embedding)
    first, second = (np.argwhere(before == number)[0] for number in (1, 2))
    far = np.argwhere(before == before.max())[-1]
    after = segmenter.cluster(embedding, same=[[first], [far]], different=[([first], [second])])
    np.testing.assert_array_equal(after, before)


def test_a_click_on_background_joins_no_objects(real: tuple[Segmenter, Embedding]) -> None:
    """The position below such a pixel may belong to an object beside it."""
    segmenter, embedding = real
    before = segmenter.cluster(embedding)
    rim = np.argwhere(binary_dilation(before > 0) & (before == 0))
    if not len(rim):
        pytest.skip("the volume has no background")
    for pixel in rim[:: len(rim) // 8]:
        after = segmenter.cluster(embedding, same=[[pixel]])
        own = after == after[tuple(pixel)]
        assert after.max() == before.max() + 1
        # The pixels of one position, and a spur that it cuts off.
        assert (own & (before > 0)).sum() + (~own & ((after > 0) != (before > 0))).sum() < 12


# --- labels that a person has edited -------------------------------------------------------------------------


def edited(labels: np.ndarray) -> np.ndarray:
    """Labels as another program may give them back: large numbers, one object repainted, a new one of a pixel."""
    changed = np.where(labels > 0, 3 * labels.astype(np.int64) + 2**33, 0)
    changed[tuple(np.argwhere(labels == 3)[::2].T)] = 7
    changed[tuple(np.argwhere(labels == 4)[0])] = 1
    return changed


def test_strokes_change_edited_labels_and_leave_all_other_pixels(real: tuple[Segmenter, Embedding]) -> None:
    segmenter, embedding = real
    labels = edited(segmenter.cluster(embedding))
    strokes = [np.argwhere(labels == number) for number in np.unique(labels[labels > 0])]
    np.testing.assert_array_equal(segmenter.cluster(embedding, labels=labels, same=strokes), relabel(labels))
    one, other = np.unique(labels[labels > 2**33])[[0, 3]]
    clicks = [[np.argwhere(labels == number)[5] for number in (one, other)]]
    joined = segmenter.cluster(embedding, labels=labels, same=clicks)
    expected = np.where(labels == other, one, labels)
    np.testing.assert_array_equal(joined, relabel(expected))


def test_an_edited_object_is_cut_within_its_pixels(real: tuple[Segmenter, Embedding]) -> None:
    segmenter, embedding = real
    found = segmenter.cluster(embedding)
    labels = found.copy()
    middles = [np.argwhere(found == number)[np.count_nonzero(found == number) // 2] for number in (2, 5)]
    labels[found == 5] = 2
    cut = segmenter.cluster(embedding, labels=labels, different=[tuple(middles)])
    assert cut[tuple(middles[0])] != cut[tuple(middles[1])]
    np.testing.assert_array_equal(cut > 0, labels > 0)
    np.testing.assert_array_equal(
        relabel(np.where(labels == 2, 0, cut)), relabel(np.where(labels == 2, 0, labels))
    )
    assert len(np.unique(cut[labels == 2])) == 2
    # The two objects were clear to the model: the cut is where it was.
    assert (cut[found == 2] == cut[tuple(middles[0])]).mean() > 0.97
    assert (cut[found == 5] == cut[tuple(middles[1])]).mean() > 0.97


def test_a_stroke_on_the_background_of_edited_labels_is_an_object(real: tuple[Segmenter, Embedding]) -> None:
    segmenter, embedding = real
    labels = segmenter.cluster(embedding)
    gone = labels == 2
    labels[gone] = 0
    pixels = np.argwhere(gone)[:40]
    after = segmenter.cluster(embedding, labels=labels, same=[pixels])
    assert after.max() == len(np.unique(labels))
    assert len(np.unique(after[tuple(pixels.T)])) == 1
    np.testing.assert_array_equal(after > 0, (labels > 0) | (after == after[tuple(pixels[0])]))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "changed by strokes alone"),
        ({"same": [[(1, 1)]], "foreground": np.ones((24, 40), bool)}, "no foreground="),
    ],
)
def test_labels_without_strokes_or_with_a_foreground_are_refused(plain, options, words) -> None:
    embedding, truth = scene()
    options = {
        key: np.ones(truth.shape, bool) if key == "foreground" else value for key, value in options.items()
    }
    with pytest.raises(InputError, match=words):
        plain.cluster(embedding, labels=truth, **options)
    with pytest.raises(InputError, match="expected"):
        plain.cluster(embedding, labels=truth[1:], same=[[(1, 1)]])
