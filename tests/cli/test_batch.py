"""Where the results of a batch lie, which process does which share, and what is never overwritten."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixel_embedded_affinity.cli.batch import (
    Shard,
    alone,
    parse_shard,
    plan_jobs,
    refuse_existing,
    share_names,
    without_results,
)
from pixel_embedded_affinity.cli.inputs import Found
from pixel_embedded_affinity.cli.records import RECORDS
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.io.locks import locked


def found(*paths: str) -> list[Found]:
    """Files that inputs of their own lead to."""
    return [Found(Path(path), Path(Path(path).name)) for path in paths]


def mirrored(*places: str) -> list[Found]:
    """Files of the folder "in", with their places in it."""
    return [Found(Path("in") / place, Path(place)) for place in places]


# --- places -----------------------------------------------------------------------------------------------


def test_results_lie_as_the_images_in_their_input() -> None:
    jobs = plan_jobs(mirrored("A01/site1.tif", "A02/site1.tif", "x.y.tif"), Path("out"), ["table"])
    assert [job.labels.as_posix() for job in jobs] == [
        "out/A01/site1_labels.tif",
        "out/A02/site1_labels.tif",
        "out/x.y_labels.tif",
    ]
    assert jobs[0].outputs["table"] == Path("out/A01/site1_objects.csv")


def test_images_of_several_inputs_with_equal_names_lie_as_in_their_common_folder() -> None:
    images = found("plate/A01/s.tif", "plate/A02/s.tif", "plate/A02/t.tif")
    assert share_names(images)
    assert [job.labels.as_posix() for job in plan_jobs(images, Path("out"))] == [
        "out/A01/s_labels.tif",
        "out/A02/s_labels.tif",
        "out/A02/t_labels.tif",
    ]
    assert not share_names(images[1:])
    assert plan_jobs(images[1:], Path("out"))[0].labels == Path("out/s_labels.tif")


@pytest.mark.parametrize("images", [found("one/a.tif", "one/a.png"), mirrored("s/a.tif", "b.tif", "s/a.png")])
def test_images_of_one_folder_with_equal_names_are_refused_and_both_are_named(images: list[Found]) -> None:
    with pytest.raises(
        InputError, match=r"a\.tif' and '.*a\.png' would both become '.*a_labels\.tif'.*rename"
    ):
        plan_jobs(images, Path("out"))


@given(
    places=st.lists(
        st.text("ab_./", min_size=1, max_size=6).filter(
            lambda text: all(part.strip(".") for part in text.split("/"))
        ),
        unique=True,
    ),
    exporters=st.lists(st.sampled_from(["overlay", "table", "labels"])),
)
def test_no_two_images_share_a_result_or_a_record(places: list[str], exporters: list[str]) -> None:
    jobs = plan_jobs(mirrored(*(f"{place}.png" for place in places)), Path("out"), exporters)
    results = [path for job in jobs for path in job.outputs.values()]
    assert len(set(results)) == len(results) == len(places) * len({*exporters, "labels"})
    assert len({job.record for job in jobs}) == len(jobs)
    assert all([*job.outputs][-1] == "labels" for job in jobs)
    assert all(path.is_relative_to("out") for path in results)


def test_results_of_other_images_are_left_out_where_they_share_a_folder() -> None:
    images = found("data/a.tif", "data/a_labels.tif", "data/a_overlay.png", "data/b_labels.tif")
    assert without_results(images, Path("data/../data")) == [images[0], images[3]]
    assert without_results(images, Path("out")) == images


def test_any_existing_result_is_refused_with_the_ways_out(tmp_path: Path) -> None:
    jobs = plan_jobs(found(*(f"{name}.tif" for name in "abcde")), tmp_path, ["table"])
    refuse_existing(jobs)
    for job in jobs:
        job.outputs["table"].touch()
    with pytest.raises(InputError, match=r"c_objects\.csv' and 2 more exist already.*--resume.*--overwrite"):
        refuse_existing(jobs)


# --- shares -----------------------------------------------------------------------------------------------


@given(st.integers(0, 30), st.integers(1, 12))
def test_the_shards_have_each_job_once_and_about_as_many(jobs: int, count: int) -> None:
    planned = plan_jobs(found(*(f"{number:02}.tif" for number in range(jobs))), Path("out"))
    shares = [Shard(number, count).of(planned) for number in range(1, count + 1)]
    together = [job for share in shares for job in share]
    assert sorted(job.image for job in together) == [job.image for job in planned]
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("text", ["", "1", "0/2", "3/2", "-1/2", "1/0", "a/b", "1/2/3", "1.0/2"])
def test_a_shard_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        parse_shard(text)


def test_a_shard_is_written_as_a_fraction() -> None:
    assert parse_shard("2/8") == Shard(2, 8)


@pytest.mark.parametrize(
    ("second", "refused"),
    [(Shard(1, 1), True), (Shard(2, 4), True), (Shard(1, 3), True), (Shard(1, 4), False)],
)
def test_one_output_has_one_run_for_each_share(tmp_path: Path, second: Shard, refused: bool) -> None:
    output = tmp_path / "out"
    with alone(output, Shard(2, 4)):
        if refused:
            with (
                pytest.raises(InputError, match=r"another run writes into '.*out'.*--shard"),
                alone(output, second),
            ):
                pass
        else:
            with alone(output, second):
                assert output.is_dir()
        assert output.is_dir()
    with alone(output, second):
        assert output.is_dir()


def test_shards_of_other_images_are_another_batch(tmp_path: Path) -> None:
    output = tmp_path / "out"
    one, other = (plan_jobs(found(f"{name}.tif"), output) for name in "ab")
    with (
        alone(output, Shard(1, 2), one),
        pytest.raises(InputError, match="give all images to each run"),
        alone(output, Shard(2, 2), other),
    ):
        pass
    with alone(output, Shard(1, 2), one), alone(output, Shard(2, 2), one):
        assert output.is_dir()


def test_a_run_with_other_images_says_so(tmp_path: Path) -> None:
    one, more = (plan_jobs(found(*names), tmp_path) for names in (["a.tif"], ["a.tif", "b.tif"]))
    with (
        alone(tmp_path, Shard(1, 2), one),
        pytest.raises(InputError, match="images that were added since, or another number of shards"),
        alone(tmp_path, Shard(2, 2), more),
    ):
        pass


def test_a_lock_that_a_starting_run_looks_at_is_waited_for(tmp_path: Path) -> None:
    """Each run that starts takes the locks of killed runs of other batches for a moment."""
    (tmp_path / RECORDS).mkdir()
    stale = tmp_path / RECORDS / "lock-1-of-7-0123456789ab"
    held = threading.Event()

    def look() -> None:
        with locked(stale, "busy"):
            held.set()
            time.sleep(0.3)

    other = threading.Thread(target=look)
    other.start()
    assert held.wait(10)
    with alone(tmp_path, Shard(1, 2)):
        assert not stale.exists()
    other.join()


@pytest.mark.parametrize("count", [244, 245])
def test_a_name_that_no_file_can_have_is_refused_before_any_work(count: int) -> None:
    """The labels add eleven bytes to it."""
    images = found("a" * count + ".tif")
    if count == 244:
        (job,) = plan_jobs(images, Path("out"))
        assert len(job.labels.name) == 255
        assert len(job.record.name) <= 255
    else:
        with pytest.raises(
            InputError, match="a name of 256 bytes; expected at most 255; give the image a shorter"
        ):
            plan_jobs(images, Path("out"))


def test_an_output_folder_without_results_goes(tmp_path: Path) -> None:
    with alone(tmp_path / "out", Shard()):
        pass
    assert not list(tmp_path.iterdir())


def test_an_output_folder_that_was_there_stays(tmp_path: Path) -> None:
    with alone(tmp_path, Shard()):
        pass
    assert tmp_path.is_dir()
    assert not list(tmp_path.iterdir())
