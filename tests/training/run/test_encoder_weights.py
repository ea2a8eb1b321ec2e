"""Weights in torchvision's naming: each key is accounted for, and whatever a file holds, nothing in it is run."""

from __future__ import annotations

import io
import logging
import os
import pickle
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn
from torchvision_names import DEPTHS, torchvision_weights

from pixel_embedded_affinity import Segmenter
from pixel_embedded_affinity.cli import main
from pixel_embedded_affinity.config.model import NetworkConfig
from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.models.checkpoint import read_checkpoint
from pixel_embedded_affinity.network.build import build_network
from pixel_embedded_affinity.training.run import encoder_weights as module
from pixel_embedded_affinity.training.run.encoder_weights import load_encoder
from pixel_embedded_affinity.training.run.loop import Trainer
from pixel_embedded_affinity.training.run.train import train

WIDTH = 4
RESNET50 = DEPTHS["resnet50_unet"]


def narrow(name="resnet50_unet", channels=3):
    return NetworkConfig(name, in_channels=channels, width=WIDTH, filters=(4,) * 5, embedding_channels=4)


@pytest.fixture
def weights():
    return torchvision_weights(RESNET50, WIDTH)


@pytest.fixture
def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build_network(narrow())


def written(path, weights):
    """A file of weights, in the format of its name's ending."""
    if path.suffix == ".safetensors":
        safetensors.torch.save_file(weights, path)
    else:
        torch.save(weights, path)
    return path


def refusal(path, network):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(InputError) as caught:
        load_encoder(path, network)
    after = network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert len(message) < len(str(path)) + 1500
    return message


# --- what fits --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".safetensors", ".pth", ".PTH"])
@pytest.mark.parametrize("name", list(DEPTHS))
def test_the_encoder_gets_the_weights_of_the_file_and_all_others_stay(tmp_path, name, ending):
    network, weights = build_network(narrow(name)), torchvision_weights(DEPTHS[name], WIDTH)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    load_encoder(written(tmp_path / f"resnet{ending}", weights), network)
    for key, value in network.state_dict().items():
        given = weights[key.removeprefix("encoder.")] if key.startswith("encoder.") else before[key]
        assert torch.equal(value, given), key


def test_the_log_says_how_many_weights_were_used_and_which_were_left_out(tmp_path, weights, network, caplog):
    with caplog.at_level(logging.INFO, logger="pixel_embedded_affinity"):
        load_encoder(written(tmp_path / "r.safetensors", weights), network)
    (record,) = caplog.records
    used, last, classifier = len(network.encoder.state_dict()), 3 * 18 + 6, 2
    assert used + last + classifier == len(weights)
    assert record.getMessage().endswith(
        f"r.safetensors: the encoder starts from {used} weights; left out are layer4.* ({last}), fc.* ({classifier})"
    )


def test_a_file_without_the_last_stage_and_the_counters_of_old_files_is_fine(tmp_path, weights, network):
    few = {
        name: value
        for name, value in weights.items()
        if not name.startswith(("layer4.", "fc.")) and not name.endswith("num_batches_tracked")
    }
    load_encoder(written(tmp_path / "r.pth", few), network)
    found = network.encoder.state_dict()
    assert all(torch.equal(found[name], value) for name, value in few.items())
    assert found["bn1.num_batches_tracked"] == 0


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_the_first_weight_is_summed_over_the_colors_and_spread_over_the_channels(tmp_path, weights, channels):
    network = build_network(narrow(channels=channels))
    load_encoder(written(tmp_path / "r.pth", weights), network)
    found, colors = network.encoder.conv1.weight, weights["conv1.weight"]
    assert found.shape == (WIDTH, channels, 7, 7)
    torch.testing.assert_close(found, colors.sum(1, keepdim=True).expand_as(found) / channels)


def test_a_gray_image_gives_what_it_gives_in_color(tmp_path, weights, network):
    path = written(tmp_path / "r.pth", weights)
    gray = build_network(narrow(channels=1))
    for one in (gray, network):
        load_encoder(path, one)
    image = torch.rand((1, 1, 32, 48), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        found, expected = gray.eval().encoder(image), network.eval().encoder(image.repeat(1, 3, 1, 1))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_another_precision_become_single_precision(tmp_path, weights, network, dtype):
    stored = {name: t.to(dtype) if t.is_floating_point() else t for name, t in weights.items()}
    load_encoder(written(tmp_path / "r.safetensors", stored), network)
    found = network.encoder.layer3[5].conv2.weight
    assert found.dtype == torch.float32
    assert torch.equal(found, stored["layer3.5.conv2.weight"].float())


def test_a_state_dict_with_its_metadata_and_parameters_is_read(tmp_path, weights, network):
    held = nn.ParameterDict({"conv1": nn.Parameter(weights["conv1.weight"])})
    path = written(tmp_path / "r.pth", {**weights, "conv1.weight": held["conv1"]})
    load_encoder(path, network)
    assert torch.equal(network.encoder.conv1.weight, weights["conv1.weight"])
    other = build_network(narrow())
    torch.save(network.encoder.state_dict(), path)
    load_encoder(path, other)
    assert torch.equal(other.encoder.layer1[0].conv1.weight, weights["layer1.0.conv1.weight"])


def test_a_file_in_the_format_of_old_releases_of_torch_is_read(tmp_path, weights, network):
    torch.save(weights, tmp_path / "r.pth", _use_new_zipfile_serialization=False)
    load_encoder(tmp_path / "r.pth", network)
    assert torch.equal(network.encoder.conv1.weight, weights["conv1.weight"])


# --- what does not fit ------------------------------------------------------------------------------------


def test_missing_and_unexpected_weights_are_named_and_counted(tmp_path, weights, network):
    del weights["layer1.0.conv2.weight"], weights["bn1.bias"]
    weights |= {f"head.{index}": torch.zeros(1) for index in range(5)}
    message = refusal(written(tmp_path / "r.pth", weights), network)
    assert "missing ['bn1.bias', 'layer1.0.conv2.weight'] (2 in all)" in message
    assert "not expected ['head.0', 'head.1', 'head.2'] (5 in all)" in message
    assert "of another shape or type [] (0 in all)" in message


def test_weights_of_the_deeper_resnet_are_refused_and_so_are_those_of_the_shallower(tmp_path, network):
    deep = torchvision_weights(DEPTHS["resnet101_unet"], WIDTH)
    message = refusal(written(tmp_path / "r101.pth", deep), network)
    assert "missing [] (0 in all), not expected ['layer3.10.bn1.bias'" in message
    assert f"({17 * 18} in all)" in message
    shallow = written(tmp_path / "r50.pth", torchvision_weights(RESNET50, WIDTH))
    message = refusal(shallow, build_network(narrow("resnet101_unet")))
    assert f"({17 * 15} in all), not expected [] (0 in all)" in message


def test_weights_of_a_wider_resnet_are_refused_with_both_shapes(tmp_path, network):
    message = refusal(written(tmp_path / "r.pth", torchvision_weights(RESNET50, 8)), network)
    assert "missing [] (0 in all), not expected [] (0 in all)" in message
    assert "'bn1.bias (8,) float32, expected (4,)'" in message


def test_weights_of_another_network_are_refused(tmp_path, weights, network, tiny_network):
    message = refusal(written(tmp_path / "r.safetensors", tiny_network.state_dict()), network)
    assert "missing ['bn1.bias'" in message
    assert "not expected ['decoder.0.enter.weight'" in message
    message = refusal(
        written(tmp_path / "r.pth", {f"module.{name}": t for name, t in weights.items()}), network
    )
    assert "not expected ['module.bn1.bias'" in message
    assert "missing ['bn1.bias'" in refusal(written(tmp_path / "none.safetensors", {}), network)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("conv1.weight", torch.zeros(WIDTH, 1, 7, 7), "conv1.weight (4, 1, 7, 7) float32, expected (4, 3, 7, 7)"),
        ("conv1.weight", torch.zeros(1).expand(WIDTH, 10**9, 7, 7), "expected (4, 3, 7, 7)"),
        ("conv1.weight", torch.zeros(WIDTH, 3, 7, 7, dtype=torch.complex64), "complex64"),
        ("bn1.weight", torch.zeros(WIDTH, dtype=torch.int64), "int64"),
        ("bn1.weight", torch.zeros(WIDTH, dtype=torch.float8_e4m3fn), "float8_e4m3fn"),
        ("bn1.weight", torch.zeros(WIDTH).to_sparse(), "bn1.weight (4,) float32"),
        ("bn1.weight", torch.zeros(WIDTH, device="meta"), "bn1.weight (4,) float32"),
        ("bn1.num_batches_tracked", torch.zeros(()), "bn1.num_batches_tracked () float32"),
        ("bn1.bias", torch.tensor([0, 0, 0, float("nan")]), "NaN or infinite values in ['bn1.bias'] (1 in all)"),
        ("bn1.bias", torch.full((WIDTH,), float("inf")), "NaN or infinite values in ['bn1.bias'] (1 in all)"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("channels", [1, 3])
def test_a_tensor_that_is_no_such_weight_is_named(tmp_path, weights, name, value, told, channels):
    path = written(tmp_path / "r.pth", {**weights, name: value})
    assert told in refusal(path, build_network(narrow(channels=channels)))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ([torch.zeros(1)], "holds list; expected a dictionary of tensors by name"),
        (torch.zeros(1), "holds Tensor; expected a dictionary"),
        (None, "holds NoneType; expected a dictionary"),
        ({"state_dict": {"conv1.weight": torch.zeros(1)}, "epoch": 3}, "['state_dict', 'epoch'] (2 in all)"),
        ({1: torch.zeros(1)}, "no tensors with a name are ['1'] (1 in all)"),
        ({"x" * 10_000 + "\n\x1b": "text"}, "(1 in all)"),
    ],
)
def test_a_file_of_anything_but_tensors_by_name_is_refused(tmp_path, network, content, told):
    torch.save(content, tmp_path / "r.pth")
    assert told in refusal(tmp_path / "r.pth", network)


@pytest.mark.parametrize("name", ["residual_unet", "half_unet"])
def test_a_network_without_such_an_encoder_is_refused(tmp_path, weights, name):
    other = build_network(NetworkConfig(name, filters=(4,) * 5))
    with pytest.raises(InputError, match=r"UNet has no encoder that takes .*resnet50_unet or resnet101_unet"):
        load_encoder(written(tmp_path / "r.pth", weights), other)


# --- hostile files ----------------------------------------------------------------------------------------


class Exploit:
    """Object whose unpickling would create a folder."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("zipped", [True, False])
def test_an_object_in_a_file_is_refused_and_never_run(tmp_path, weights, network, zipped):
    content = {**weights, "bn1.bias": Exploit(tmp_path / "marker")}
    torch.save(content, tmp_path / "r.pth", _use_new_zipfile_serialization=zipped)
    assert "cannot be read as weights" in refusal(tmp_path / "r.pth", network)
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_a_pickle_is_refused_and_never_run(tmp_path, network, protocol, ending):
    path = tmp_path / f"r{ending}"
    path.write_bytes(pickle.dumps(Exploit(tmp_path / "marker"), protocol))
    assert "cannot be read as weights" in refusal(path, network)
    assert not (tmp_path / "marker").exists()


def test_a_program_of_torch_is_refused(tmp_path, network):
    path = tmp_path / "r.pth"
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for name in ("r/constants.pkl", "r/data.pkl", "r/version", "r/byteorder"):
            file.writestr(name, pickle.dumps({}) if name.endswith("pkl") else "3\n")
        file.writestr("r/code/__torch__.py", "class Module(Module):\n  pass\n")
    path.write_bytes(archive.getvalue())
    assert "cannot be read as weights" in refusal(path, network)


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_a_truncated_file_is_refused(tmp_path, weights, network, ending):
    data = written(tmp_path / f"whole{ending}", weights).read_bytes()
    cut = tmp_path / f"cut{ending}"
    for length in {0, 1, 7, 8, 9, *range(10, len(data), len(data) // 15), len(data) - 1}:
        cut.write_bytes(data[:length])
        assert "cannot be read as weights" in refusal(cut, network)


def test_a_truncated_file_of_old_releases_of_torch_is_refused(tmp_path, weights, network):
    torch.save(weights, tmp_path / "r.pth", _use_new_zipfile_serialization=False)
    data = (tmp_path / "r.pth").read_bytes()
    for length in range(1, len(data), len(data) // 15):
        (tmp_path / "r.pth").write_bytes(data[:length])
        refusal(tmp_path / "r.pth", network)


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
@pytest.mark.parametrize(
    "data", [bytes(64), b"<!DOCTYPE html><html></html>", b"\x89HDF\r\n\x1a\n" + bytes(64)]
)
def test_files_of_other_kinds_are_refused(tmp_path, network, data, ending):
    path = tmp_path / f"r{ending}"
    path.write_bytes(data)
    assert "cannot be read as weights" in refusal(path, network)


def test_a_file_that_is_not_there_or_of_another_ending_is_refused(tmp_path, network):
    assert "no such file" in refusal(tmp_path / "none.pth", network)
    with pytest.raises(InputError, match="no such file"):
        load_encoder(tmp_path / f"{'x' * 5000}.pth", network)
    (tmp_path / "folder.pth").mkdir()
    assert "no such file" in refusal(tmp_path / "folder.pth", network)
    assert "ends in .safetensors or .pth" in refusal(tmp_path / "r.bin", network)


def test_a_file_of_an_absurd_size_is_refused_before_it_is_read(tmp_path, network):
    with (tmp_path / "r.pth").open("wb") as file:
        file.truncate(3 * 1024**3)
    assert "3221225472 bytes; expected at most" in refusal(tmp_path / "r.pth", network)


def test_releases_of_torch_that_would_run_code_read_no_torch_files(tmp_path, weights, network, monkeypatch):
    monkeypatch.setattr(module.torch, "__version__", torch.torch_version.TorchVersion("2.5.1"))
    assert "convert the file to .safetensors" in refusal(written(tmp_path / "r.pth", weights), network)
    load_encoder(written(tmp_path / "r.safetensors", weights), network)


# --- training ---------------------------------------------------------------------------------------------


@pytest.fixture
def resnet_recipe(recipe):
    changed = recipe.model.changed(network=narrow(channels=1))
    return replace(recipe, model=changed).scheduled(steps=2)


def test_a_run_starts_from_the_encoder_s_weights(tmp_path, weights, resnet_recipe, examples):
    path = written(tmp_path / "r.safetensors", weights)
    plain = Trainer(resnet_recipe, examples, tmp_path / "a", device="cpu")
    started = Trainer(resnet_recipe, examples, tmp_path / "b", device="cpu", encoder_weights=path)
    own, found = plain.network.state_dict(), started.network.state_dict()
    for name, value in found.items():
        key = name.removeprefix("encoder.")
        same = weights[key].sum(1, keepdim=True) if key == "conv1.weight" else weights.get(key, own[name])
        torch.testing.assert_close(value, same)
        assert torch.equal(started.average[name], value)
    before = {name: value.clone() for name, value in started.network.named_parameters()}
    assert [result.step for result in started.steps()] == [1, 2]
    still = [name for name, value in started.network.named_parameters() if torch.equal(value, before[name])]
    assert still == []


def test_a_step_trains_every_weight_of_the_deeper_network(tmp_path, resnet_recipe, examples):
    changed = replace(resnet_recipe, model=resnet_recipe.model.changed(network=narrow("resnet101_unet", 1)))
    trainer = Trainer(changed.scheduled(steps=1), examples, tmp_path, device="cpu")
    before = {name: value.clone() for name, value in trainer.network.named_parameters()}
    assert [result.step for result in trainer.steps()] == [1]
    still = [name for name, value in trainer.network.named_parameters() if torch.equal(value, before[name])]
    assert still == []


def test_the_loss_of_a_small_network_falls(tmp_path, resnet_recipe, examples):
    trainer = Trainer(resnet_recipe.scheduled(steps=24), examples, tmp_path, device="cpu")
    totals = [result.losses["total"] for result in trainer.steps()]
    assert sum(totals[-6:]) < 0.95 * sum(totals[:6])


def test_the_command_trains_and_the_model_segments(
    tmp_path, weights, resnet_recipe, recipe_file, data, capsys
):
    path = written(tmp_path / "r.pth", weights)
    text = recipe_file.read_text()
    network = 'architecture = "resnet50_unet"\nwidth = 4\nin_channels = 1'
    recipe_file.write_text(text.replace("in_channels = 1", network))
    command = ["train", str(recipe_file), "--data", str(data), "--device", "cpu", "--steps", "1"]
    output = tmp_path / "run"
    assert main([*command, "--output", str(output), "--encoder-weights", str(path)]) == 0
    model = output / "model.safetensors"
    assert Segmenter.from_file(model, device="cpu").segment(torch.zeros(20, 30).numpy()).shape == (20, 30)
    tracked = read_checkpoint(model).tensors["encoder.bn1.num_batches_tracked"]
    assert tracked == weights["bn1.num_batches_tracked"] + 1
    assert main([*command, "--output", str(output), "--resume", "--steps", "2"]) == 0
    capsys.readouterr()
    other = ["train", "quick", "--data", str(data), "--output", str(tmp_path / "other")]
    with pytest.raises(SystemExit):
        main([*other, "--encoder-weights", str(path), "--init", "nuclei"])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"warm_start": "a.safetensors"}, "got warm_start 'a.safetensors' and encoder_weights 'r.pth'"),
        ({"init": "nuclei"}, "got init 'nuclei' and encoder_weights 'r.pth'"),
        ({"resume": True}, "give either resume or a warm start"),
    ],
)
def test_a_run_has_one_start(tmp_path, resnet_recipe, data, arguments, told):
    with pytest.raises(InputError, match=told):
        train(resnet_recipe, data, tmp_path / "run", encoder_weights=Path("r.pth"), **arguments)
    assert not (tmp_path / "run").exists()


def test_a_recipe_of_another_network_is_refused_before_anything_is_written(tmp_path, weights, recipe, data):
    path = written(tmp_path / "r.pth", weights)
    with pytest.raises(InputError, match="ResidualUNet has no encoder that takes torchvision's weights"):
        train(recipe, data, tmp_path / "run", device="cpu", encoder_weights=path)
    assert not (tmp_path / "run").exists()
