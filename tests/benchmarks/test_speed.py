"""The benchmarks that measure speed run on small inputs, and count what they say they count."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from torch import nn

from pixel_embedded_affinity import Neighborhood, Segmenter, affinities
from pixel_embedded_affinity.runtime import memory

SIZE = (40, 56)


@pytest.fixture
def tiny_models(monkeypatch: pytest.MonkeyPatch, checkpoint_file: Path) -> None:
    """Every model is the tiny one."""

    def pretrained(_: str, **options: Any) -> Segmenter:
        return Segmenter.from_file(checkpoint_file, **{**options, "precision": "float32"})

    monkeypatch.setattr(Segmenter, "pretrained", pretrained)


@pytest.fixture
def field(tmp_path: Path) -> Path:
    path = tmp_path / "field.tif"
    tifffile.imwrite(path, np.random.default_rng(0).integers(0, 4000, SIZE).astype(np.uint16))
    return path


def test_each_form_of_the_network_embeds_alike(
    load: Any, checkpoint_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = load("network")
    monkeypatch.setattr(module, "resolve", lambda _: checkpoint_file)
    monkeypatch.setattr(module, "has_fast_bfloat16", lambda _: False)
    module.main(["--size", "30", "40", "--runs", "1", "--no-compile"])
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[2:]]
    assert [" ".join(row[:-5]) for row in rows] == [
        "published",
        "parallel convolutions in one",
        "batch norm folded",
        "channels last",
    ]
    assert all(float(row[-1]) < 1e-4 for row in rows)


@pytest.mark.usefixtures("tiny_models")
def test_the_larger_the_halo_the_less_tiles_change(load: Any, capsys: pytest.CaptureFixture[str]) -> None:
    load("halo").main([])
    embeddings, labels = (table.splitlines()[1:] for table in capsys.readouterr().out.split("\n\n"))
    differences = [float(line.split()[1]) for line in embeddings]
    assert len(differences) == len(labels) - 1 == 5
    assert differences[0] > differences[2] > differences[4]
    assert labels[0].split()[2] == "0"


@pytest.mark.usefixtures("tiny_models")
def test_shares_of_the_steps_and_of_the_hardware_are_printed(
    load: Any, field: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--image", str(field), "--device", "cpu", "--runs", "1", "--matrix", "16", "--copied", "1"]
    load("hardware").main(command)
    text = capsys.readouterr().out
    assert "40 x 56 pixels, cpu" in text
    rows = re.findall(r"^([^\d\n]+?) +(-?[\d.]+) ms +(-?[\d.]+)%$", text, re.MULTILINE)
    steps = ["read, normalize", "network", "affinities", "clustering", "postprocess", "other", "segment"]
    assert [name for name, *_ in rows] == steps
    assert sum(float(share) for *_, share in rows[:-1]) == pytest.approx(100, abs=1)
    assert rows[-1][2] == "100.0"
    assert re.search(r"^network: .* GFLOP in .* matrix product: .* share \d+%$", text, re.MULTILINE)
    assert len(re.findall(r"GB/s, share \d+%$", text, re.MULTILINE)) == 2


def test_steps_and_clusterers_of_a_volume_are_printed(
    load: Any,
    volume_segmenter: Segmenter,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(Segmenter, "pretrained", lambda *_, **__: volume_segmenter)
    stack = tmp_path / "stack.tif"
    tifffile.imwrite(stack, np.random.default_rng(0).integers(0, 4000, (9, 40, 48)).astype(np.uint16))
    options = ["--shape", "6", "36", "40", "--runs", "1", "--matrix", "64"]
    for more in ([], ["--image", str(stack), "--clock", "wall"]):
        load("volumes").main([*options, *more])
        printed = capsys.readouterr().out
        assert "6 x 36 x 40 voxels, cpu, 1 thread(s)" in printed
        assert len(re.findall(r"^.+ [\d.]+ s +[\d.]+ +[\d.]+%$", printed, re.MULTILINE)) == 5
        assert len(re.findall(r"^(?:lifted )?multicut, .+ [\d.]+ s +[\d.]+$", printed, re.MULTILINE)) == 8
        assert re.search(r"GFLOP/s; share \d+%", printed)
        assert re.search(r"^peak memory of segment: \d+ MB, \d+ bytes per voxel$", printed, re.MULTILINE)


def test_operations_are_two_for_each_weight_at_each_place(load: Any, tiny_network: nn.Module) -> None:
    count = 0

    def counted(layer: nn.Module, _: Any, output: torch.Tensor) -> None:
        nonlocal count
        assert isinstance(layer, nn.Conv2d)
        count += 2 * layer.weight[0].numel() * output.numel()

    handles = [
        module.register_forward_hook(counted)
        for module in tiny_network.modules()
        if isinstance(module, nn.Conv2d)
    ]
    batch = torch.zeros(1, 1, 32, 48)
    try:
        with torch.no_grad():
            tiny_network(batch)
    finally:
        for handle in handles:
            handle.remove()
    assert load("hardware").flops(tiny_network, batch) == count > 0


def test_affinities_are_timed_once_where_one_call_makes_another(load: Any) -> None:
    embedding = np.random.default_rng(0).normal(size=(4, 30, 30)).astype(np.float32)
    pairs = affinities(embedding, Neighborhood.from_ranges([1, 3], strides=2))
    start = time.perf_counter()
    with load("hardware").watched_affinities() as seconds:
        found = pairs.pairs(0)
        pairs.channel(1)
    elapsed = time.perf_counter() - start
    assert len(seconds) == 2
    assert 0 < sum(seconds) <= elapsed
    pairs.channel(0)
    assert len(seconds) == 2
    np.testing.assert_array_equal(found.affinity, pairs.pairs(0).affinity)


@pytest.mark.usefixtures("tiny_models")
def test_images_per_second_of_both_ways_are_printed(load: Any, capsys: pytest.CaptureFixture[str]) -> None:
    load("many").main(["--device", "cpu", "--count", "3", "--size", "48", "--runs", "1"])
    text = capsys.readouterr().out
    assert "3 images of 48 x 48 pixels" in text
    ways = re.findall(r"^(\w[\w ]+?) +([\d.]+) images/s +([\d.]+)x$", text, re.MULTILINE)
    assert [name for name, *_ in ways] == ["loop of segment", "segment_many"]
    assert ways[0][2] == "1.00"
    assert ("MB after the first 5" in text) is Path("/proc/self/statm").exists()


@pytest.mark.skipif(
    not memory._malloc.is_ours, reason="malloc does not come from glibc, or the environment tunes it"
)
def test_less_memory_comes_from_the_system_where_it_is_used_again(
    load: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    load("memory_reuse").main(["--models", "bbbc039-fast", "--runs", "1"])
    rows = re.findall(
        r"^bbbc039-fast +(without|used again) .* (\d+) MB +\d+ MB$", capsys.readouterr().out, re.M
    )
    assert [way for way, _ in rows] == ["without", "used again"]
    assert int(rows[1][1]) < int(rows[0][1]) / 2


def test_where_malloc_is_left_alone_nothing_is_compared(
    load: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(memory._malloc, "is_ours", False)
    load("memory_reuse").main([])
    assert "leaves it alone" in capsys.readouterr().out


def test_the_images_differ(load: Any) -> None:
    images = load("many").fields(9, 64)
    assert {image.shape for image in images} == {(64, 64)}
    assert len({image.tobytes() for image in images}) == 9


def test_ways_that_give_other_labels_are_not_compared(
    load: Any, segmenter: Segmenter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Segmenter, "segment_many", lambda self, images: (np.zeros((48, 48)) for _ in images))
    many = load("many")
    with pytest.raises(AssertionError):
        many.compare(segmenter, many.fields(2, 48), 1)


@pytest.mark.usefixtures("tiny_models")
def test_peers_that_are_there_are_timed_and_others_are_left_out_with_what_to_install(
    load: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    peers = load("peers")
    layer = nn.Conv2d(2, 3, 1)
    there = peers.Peer("numpy", "numpy", lambda: peers.of_torch(layer, layer, 2))
    missing = peers.Peer("no-such-package", "'no-such-package<4'", lambda: peers.of_torch(layer, layer, 2))
    monkeypatch.setattr(peers, "PEERS", {"There": there, "Missing": missing})
    peers.main(["--size", "50", "--runs", "1"])
    text = capsys.readouterr().out
    assert "random weights, own architecture, network only" in text
    assert re.search(r"^Missing is left out: .*; to have it: pip install 'no-such-package<4'$", text, re.M)
    rows = text.splitlines()[3:]
    expected = ["bbbc039", "bbbc039-fast", f"There (numpy {np.__version__})"]
    assert [row[:36].strip() for row in rows] == expected
    assert "48 x 48 pixels" in text


@pytest.mark.parametrize("name", ["Cellpose 3", "InstanSeg", "StarDist", "StarDist, grid 2"])
def test_the_network_of_a_peer_takes_the_field(load: Any, name: str) -> None:
    peers = load("peers")
    modules = {"Cellpose 3": "cellpose.resnet_torch", "InstanSeg": "instanseg"}
    pytest.importorskip(modules.get(name, "stardist.models"))
    contender = peers.PEERS[name].build()
    image = torch.zeros(24, 40)
    assert peers.measure({name: contender}, image, 1)[name] > 0
    assert contender.arithmetic(peers.batch_for(contender, image)) > contender.parameters > 0


def test_measurements_are_compared_and_much_faster(load: Any, capsys: pytest.CaptureFixture[str]) -> None:
    load("measurements").main(["--count", "2000", "--runs", "2"])
    text = capsys.readouterr().out
    assert text.startswith("2000 objects, 1980 x 1980 pixels, 20 columns\n")
    (ratio,) = re.findall(r"ms: ([\d.]+)x$", text, re.MULTILINE)
    assert float(ratio) >= 5
    (difference,) = re.findall(r"^largest difference (\S+)$", text, re.MULTILINE)
    assert float(difference) < 1e-6


def test_runtimes_are_compared_and_give_the_same_labels(
    load: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = load("runtimes")
    field = module.nuclei()
    monkeypatch.setattr(module, "nuclei", lambda: field._replace(image=field.image[:96, :128]))
    module.main(["--models", "nuclei", "--runs", "1", "--precision", "float32"])
    text = capsys.readouterr().out
    added = re.findall(
        r"^(torch|onnx) +\w+ [\w.+]+: (\d+) MB more, import (\d+\.\d\d) s$", text, re.MULTILINE
    )
    assert [runtime for runtime, *_ in added] == ["torch", "onnx"]
    assert int(added[0][1]) > int(added[1][1]) > 20
    rows = re.findall(r"^nuclei +(\w+) +torch +(.*) s +onnx +(.*) s +(.*)x +(\d+) pixels", text, re.MULTILINE)
    assert [step for step, *_ in rows] == ["network", "segment"]
    for _, torch_seconds, onnx_seconds, ratio, different in rows:
        assert float(torch_seconds) > 0
        assert float(onnx_seconds) > 0
        assert float(ratio) > 0
        assert different == "0"


def test_trainings_of_several_recipes_are_compared(load: Any, capsys: pytest.CaptureFixture[str]) -> None:
    load("training_step").report_recipes(["quick", "quick"], "cpu", time.process_time, 1)
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split()[0] == "recipe"
    step, crop, _, ratio = rows[0].split()[-4:]
    batch = int(rows[0].split()[1])
    assert float(step) == pytest.approx(float(crop) * batch, abs=0.01)
    assert ratio == "1.0x"
    assert rows[1].startswith("quick")
