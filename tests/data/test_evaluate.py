"""Evaluation: rows hold the metrics of the segmenter's labels, and the tables hold the rows."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest
import tifffile

from pixel_embedded_affinity import Neighborhood, Segmenter
from pixel_embedded_affinity.data.evaluate import evaluate_model, format_table, mean_row, write_rows
from pixel_embedded_affinity.data.layouts import RAW, DataSettings, Example, find_files, load
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.io.selection import Selection
from pixel_embedded_affinity.metrics import evaluate
from pixel_embedded_affinity.samples import neurons
from pixel_embedded_affinity.training.data.synthetic import synthetic_volume


@pytest.fixture
def files(data):
    return find_files(data, DataSettings(), "all")


@pytest.fixture
def rows(segmenter, files):
    return evaluate_model(segmenter, files)


def test_rows_are_the_metrics_of_what_the_segmenter_finds(segmenter, files, rows):
    assert [row["name"] for row in rows] == ["a", "b", "c"]
    for entry, row in zip(files, rows, strict=True):
        found = segmenter.segment(entry.image)
        assert row == {"name": entry.name, **evaluate(entry.read_labels(entry.labels), found)}


def test_examples_with_raw_images_give_the_rows_of_their_files(segmenter, files, rows):
    assert evaluate_model(segmenter, load(files, RAW, 1)) == rows


def test_the_background_of_a_volume_is_left_out_of_its_variation_of_information(volume_segmenter):
    image, labels = synthetic_volume((4, 40, 40))
    row = evaluate_model(volume_segmenter, [Example("tubes", image[None].astype(np.float32), labels)])[0]
    found = volume_segmenter.segment(image)
    assert row == {"name": "tubes", **evaluate(labels, found, ignore_background=True)}
    assert row["voi"] != evaluate(labels, found)["voi"]


def test_the_size_of_voxels_says_the_scale_whether_a_file_declares_it_or_the_caller(tmp_path):
    sample, part = neurons(), np.s_[:3, :48, :48]
    for name, values in (("images", sample.image), ("labels", sample.labels)):
        (tmp_path / name).mkdir()
        tifffile.imwrite(tmp_path / name / "a.tif", values[part], photometric="minisblack")
    segmenter = Segmenter.pretrained("neurons", device="cpu", threads=1).with_settings(scale="auto")
    files = find_files(tmp_path, DataSettings(layout="folders"), "all")
    with pytest.raises(InputError, match="give pixel_size="):
        evaluate_model(segmenter, files)
    (row,) = evaluate_model(segmenter, files, selection=Selection(pixel_size=sample.pixel_size))
    found = segmenter.segment(sample.image[part], pixel_size=sample.pixel_size)
    expected = evaluate(sample.labels[part], found, ignore_background=True)
    assert row.pop("name") == "a"
    assert row == pytest.approx(expected)


def test_the_foreground_of_the_truth_can_be_given(segmenter, files):
    rows = evaluate_model(segmenter, files, foreground="truth")
    truth = files[0].read_labels(files[0].labels)
    found = segmenter.segment(files[0].image, foreground=truth > 0)
    assert rows[0] == {"name": "a", **evaluate(truth, found)}
    assert rows[0]["foreground_dice"] == 1


def test_settings_of_the_segmenter_are_used(segmenter, files):
    other = segmenter.with_settings(neighborhood=Neighborhood.from_ranges([1, 9]), foreground_threshold=1.0)
    assert {row["foreground_dice"] for row in evaluate_model(other, files)} == {0.0}


def test_nothing_and_an_unknown_foreground_are_refused(segmenter, files):
    with pytest.raises(InputError, match="nothing to evaluate"):
        evaluate_model(segmenter, [])
    with pytest.raises(InputError, match="foreground must be one of 'model', 'truth', got 'given'"):
        evaluate_model(segmenter, files, foreground="given")


def test_images_without_any_true_object_are_told(segmenter, files, caplog):
    examples = load(files, RAW, 1)
    empty = [replace(example, labels=example.labels * 0) for example in examples]
    evaluate_model(segmenter, [*empty[1:], examples[0]])
    assert "no true object" not in caplog.text
    evaluate_model(segmenter, empty)
    assert "no true object in 3 label images" in caplog.text


def test_progress_is_told_to_a_callable(segmenter, files):
    seen = []

    def bar(items, **details):
        seen.append(details)
        return items

    evaluate_model(segmenter, files[:1], progress=bar)
    assert seen == [{"desc": "evaluating"}]


def test_the_mean_row_is_the_mean_of_every_column(rows):
    mean = mean_row(rows)
    assert mean["name"] == "mean"
    assert list(mean) == list(rows[0])
    for column in list(mean)[1:]:
        assert mean[column] == pytest.approx(np.mean([row[column] for row in rows]))
    with pytest.raises(InputError, match="no rows"):
        mean_row([])


def test_the_csv_holds_every_value_with_all_its_digits(rows, tmp_path):
    write_rows(tmp_path / "scores.csv", rows)
    with (tmp_path / "scores.csv").open(newline="") as file:
        read = list(csv.DictReader(file))
    assert [{k: v if k == "name" else float(v) for k, v in row.items()} for row in read] == rows
    with pytest.raises(InputError, match="no rows"):
        write_rows(tmp_path / "empty.csv", [])
    with pytest.raises(InputError, match=r"\.csv"):
        write_rows(tmp_path / "scores.txt", rows)
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["scores.csv"]


def test_the_table_is_aligned_and_rounded_to_four_digits(rows):
    row = {**rows[0], "name": "a long name", "symmetric_best_dice": 0.98765432, "difference_in_count": -12.5}
    heading, *lines = format_table([row, mean_row(rows)]).splitlines()
    assert heading.split()[:2] == ["image", "SBD"]
    assert {"DiC", "|DiC|", "FG-Dice", "AJI", "PQ", "F1", "ARAND"} <= set(heading.split())
    assert lines[0].startswith("a long name  0.9877")
    assert "-12.5000" in lines[0]
    assert lines[1].startswith("mean ")
    assert len({len(line) for line in (heading, *lines)}) == 1
