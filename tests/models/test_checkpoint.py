"""Checkpoints come back as they were written, in equal bytes for equal content, whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from pathlib import Path

import pytest
import safetensors
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pixel_embedded_affinity.errors import CheckpointError
from pixel_embedded_affinity.io.atomic import atomic_file
from pixel_embedded_affinity.models.checkpoint import (
    Checkpoint,
    read_checkpoint,
    write_checkpoint,
)

CONFIG = '{"name": "tiny", "micro": "\u00b5m"}'
DTYPES = [
    torch.float64,
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.int16,
    torch.int8,
    torch.uint8,
    torch.bool,
]

GOLDEN = (
    b"\xd8\x00\x00\x00\x00\x00\x00\x00"
    b'{"__metadata__":{"format":"pixel_embedded_affinity","format_version":"1","config":"{\\"a\\": 1}"},'
    b'"bias":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
    b'"weight":{"dtype":"F16","shape":[2,1],"data_offsets":[4,8]}}'
    b"    "
    b"\x00\x00\x80?\x00<\x00\xc0"
)


def tiny() -> Checkpoint:
    generator = torch.Generator().manual_seed(5)
    tensors = {
        "weight": torch.randn(4, 3, 3, 3, generator=generator),
        "bias": torch.randn(4, generator=generator),
        "steps": torch.tensor(7),
    }
    return Checkpoint(config_json=CONFIG, tensors=tensors)


def assert_same_tensors(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert found[name].shape == tensor.shape
        assert torch.equal(found[name], tensor)


def test_a_checkpoint_comes_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "tiny.safetensors"

    write_checkpoint(path, tiny())
    found = read_checkpoint(str(path))

    assert found.config_json == CONFIG
    assert_same_tensors(found.tensors, tiny().tensors)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_stored_precision_is_kept(tmp_path: Path, dtype: torch.dtype) -> None:
    tensors = {"x": torch.tensor([[0, 1], [1, 0]]).to(dtype), "empty": torch.zeros(0, 3, dtype=dtype)}

    write_checkpoint(tmp_path / "x", Checkpoint(CONFIG, tensors))

    assert_same_tensors(read_checkpoint(tmp_path / "x").tensors, tensors)


@settings(max_examples=40, deadline=None)
@given(
    config=st.text(min_size=1, max_size=40).filter(lambda text: text.strip() != ""),
    shapes=st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8),
        st.lists(st.integers(0, 4), max_size=4),
        max_size=4,
    ),
)
def test_any_text_and_any_names_survive(
    tmp_path_factory: pytest.TempPathFactory, config: str, shapes: dict[str, list[int]]
) -> None:
    path = tmp_path_factory.mktemp("any") / "x"
    tensors = {name: torch.full(shape, float(len(name))) for name, shape in shapes.items()}

    write_checkpoint(path, Checkpoint(config, tensors))
    found = read_checkpoint(path)

    assert found.config_json == config
    assert_same_tensors(found.tensors, tensors)


def test_the_bytes_of_the_format_do_not_change(tmp_path: Path) -> None:
    tensors = {"weight": torch.tensor([[1.0], [-2.0]], dtype=torch.float16), "bias": torch.tensor([1.0])}

    write_checkpoint(tmp_path / "x", Checkpoint('{"a": 1}', tensors))

    assert (tmp_path / "x").read_bytes() == GOLDEN


def test_equal_content_gives_equal_bytes(tmp_path: Path) -> None:
    reordered = Checkpoint(CONFIG, dict(reversed(tiny().tensors.items())))
    for name, checkpoint in {"a": tiny(), "b": tiny(), "c": reordered}.items():
        write_checkpoint(tmp_path / name, checkpoint)

    contents = {path.read_bytes() for path in tmp_path.iterdir()}

    assert len(contents) == 1


def test_any_safetensors_reader_understands_the_file(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "x", tiny())

    with safetensors.safe_open(str(tmp_path / "x"), framework="pt") as file:
        metadata = file.metadata()
        weight = file.get_tensor("weight")

    assert metadata == {"format": "pixel_embedded_affinity", "format_version": "1", "config": CONFIG}
    assert torch.equal(weight, tiny().tensors["weight"])


def test_tensors_start_at_multiples_of_eight_bytes(tmp_path: Path) -> None:
    for length in range(1, 9):
        write_checkpoint(tmp_path / "x", Checkpoint("c" * length, {}))
        assert int.from_bytes((tmp_path / "x").read_bytes()[:8], "little") % 8 == 0


def test_views_shared_memory_and_gradients_are_stored_and_left_alone(tmp_path: Path) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    parameter = torch.nn.Parameter(base.clone())
    tensors = {
        "base": base,
        "same": base,
        "transposed": base.T,
        "slice": base[:, 1:3],
        "channels_last": torch.rand(1, 2, 3, 4).to(memory_format=torch.channels_last),
        "parameter": parameter,
    }

    write_checkpoint(tmp_path / "x", Checkpoint(CONFIG, tensors))
    found = read_checkpoint(tmp_path / "x").tensors

    assert_same_tensors(found, tensors)
    assert parameter.requires_grad
    assert not found["parameter"].requires_grad
    assert tensors["transposed"].stride() == (1, 4)


def test_read_tensors_own_their_memory(tmp_path: Path) -> None:
    path = tmp_path / "x"
    write_checkpoint(path, tiny())

    tensors = read_checkpoint(path).tensors
    path.write_bytes(b"")
    tensors["bias"].zero_()

    assert torch.equal(tensors["weight"], tiny().tensors["weight"])
    assert not tensors["bias"].any()


def test_the_right_hash_is_accepted_and_another_refused(tmp_path: Path) -> None:
    path = tmp_path / "x"
    write_checkpoint(path, tiny())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()

    assert read_checkpoint(path, sha256=digest.upper()).config_json == CONFIG
    with pytest.raises(CheckpointError, match=f"{path}: SHA-256 is {digest}, expected 00"):
        read_checkpoint(path, sha256="0" * 64)


def test_one_changed_bit_is_found_by_the_hash(tmp_path: Path) -> None:
    path = tmp_path / "x"
    write_checkpoint(path, tiny())
    data = bytearray(path.read_bytes())
    digest = hashlib.sha256(data).hexdigest()
    data[-1] ^= 1
    path.write_bytes(data)

    with pytest.raises(CheckpointError, match="SHA-256"):
        read_checkpoint(path, sha256=digest)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_weights_that_are_not_finite_are_not_written(
    tmp_path: Path, value: float, dtype: torch.dtype
) -> None:
    tensors = {"good": torch.ones(3), "bad": torch.tensor([0.0, value], dtype=dtype)}

    with pytest.raises(CheckpointError, match="tensor 'bad' has NaN or infinite"):
        write_checkpoint(tmp_path / "x", Checkpoint(CONFIG, tensors))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("tensors", "config"),
    [
        ({"x": torch.zeros(2, dtype=torch.complex64)}, CONFIG),
        ({"x": torch.zeros(2, dtype=torch.complex128)}, CONFIG),
        ({"x": torch.zeros(2).to(torch.float8_e5m2)}, CONFIG),
        ({"x": torch.eye(2).to_sparse()}, CONFIG),
        ({"x": torch.zeros(2, device="meta")}, CONFIG),
        ({"__metadata__": torch.zeros(2)}, CONFIG),
        ({"\ud800": torch.zeros(2)}, CONFIG),
        ({"x": torch.zeros(2)}, "\ud800"),
        ({"x": torch.zeros(2)}, ""),
        ({"x": torch.zeros(2)}, " \n"),
    ],
)
def test_what_could_not_be_read_back_is_not_written(
    tmp_path: Path, tensors: dict[str, torch.Tensor], config: str
) -> None:
    with pytest.raises(CheckpointError, match=str(tmp_path)):
        write_checkpoint(tmp_path / "x", Checkpoint(config, tensors))
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_that_name_is_replaced_only_by_a_whole_one(tmp_path: Path) -> None:
    path = tmp_path / "x"
    write_checkpoint(path, tiny())
    before = path.read_bytes()

    with pytest.raises(CheckpointError):
        write_checkpoint(path, Checkpoint(CONFIG, {"x": torch.tensor(float("nan"))}))
    assert path.read_bytes() == before

    write_checkpoint(path, Checkpoint("{}", {}))
    assert json.loads(read_checkpoint(path).config_json) == {}
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_is_refused_as_one(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"is a folder, expected a \.safetensors file"):
        read_checkpoint(tmp_path)


def test_a_header_longer_than_the_file_is_that_of_another_format(tmp_path: Path) -> None:
    path = tmp_path / "notes.safetensors"
    path.write_text("this is a text and no model")
    with pytest.raises(CheckpointError, match="is not a safetensors file"):
        read_checkpoint(path)


@pytest.mark.parametrize("length", [0x0280, 0x0380, 0x0480, 0x0580])
def test_a_header_as_long_as_a_pickle_starts_is_read(tmp_path: Path, length: int) -> None:
    path, tensors = tmp_path / "x.safetensors", {"bias": torch.ones(1)}
    write_checkpoint(path, Checkpoint("{}", tensors))
    short = int.from_bytes(path.read_bytes()[:8], "little")
    config = "{" + " " * (length - short) + "}"
    write_checkpoint(path, Checkpoint(config, tensors))
    assert path.read_bytes()[:8] == length.to_bytes(8, "little")
    assert read_checkpoint(path).config_json == config


def test_a_missing_folder_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_checkpoint(tmp_path / "nowhere" / "x", tiny())


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()], ids=["error", "interrupt"])
def test_a_failed_write_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    def write_half() -> None:
        with atomic_file(tmp_path / "x") as file:
            file.write(b"half")
            assert [path.suffix for path in tmp_path.iterdir()] == [".part"]
            raise error

    with pytest.raises(type(error)):
        write_half()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="POSIX file modes")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_the_mode_follows_the_umask(tmp_path: Path, umask: int, mode: int) -> None:
    previous = os.umask(umask)
    try:
        write_checkpoint(tmp_path / "x", tiny())
    finally:
        os.umask(previous)

    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == mode
