"""Whatever a weights file holds, it gives a checkpoint or a one-line CheckpointError, and runs nothing."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pixel_embedded_affinity.errors import CheckpointError, InputError
from pixel_embedded_affinity.models.checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from pixel_embedded_affinity.models.registry import list_models

METADATA = {"format": "pixel_embedded_affinity", "format_version": "1", "config": "{}"}
WEIGHT = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
BODY = struct.pack("<2f", 1.0, 2.0)


class Exploit:
    """Object whose unpickling would create a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.marker),)


def file_bytes(header: object, body: bytes = BODY, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def with_metadata(**changes: object) -> dict[str, object]:
    metadata = {key: value for key, value in {**METADATA, **changes}.items() if value is not None}
    return {"__metadata__": metadata, "w": WEIGHT}


def with_tensor(**changes: object) -> dict[str, object]:
    return {"__metadata__": METADATA, "w": {**WEIGHT, **changes}}


def assert_refused(path: Path, data: bytes, message: str = ".") -> None:
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=message) as caught:
        read_checkpoint(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert "\n" not in text
    assert len(text) < len(str(path)) + 400


def test_the_file_that_the_attacks_start_from_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(file_bytes(with_metadata()))

    assert read_checkpoint(path).tensors["w"].tolist() == [1.0, 2.0]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_is_refused_and_never_run(tmp_path: Path, protocol: int) -> None:
    data = pickle.dumps(Exploit(tmp_path / "marker"), protocol)

    assert_refused(tmp_path / "x.safetensors", data, "pickle" if protocol >= 2 else "not a safetensors file")
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_a_torch_file_is_refused_and_never_run(tmp_path: Path, zipped: bool) -> None:
    buffer = io.BytesIO()
    content = {"w": torch.ones(2), "x": Exploit(tmp_path / "marker")}
    torch.save(content, buffer, _use_new_zipfile_serialization=zipped)

    assert_refused(tmp_path / "x", buffer.getvalue(), "zip archive" if zipped else "pickle")
    assert not (tmp_path / "marker").exists()


def test_a_zip_with_a_checkpoint_inside_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("../x.safetensors", file_bytes(with_metadata()))

    assert_refused(tmp_path / "x", buffer.getvalue(), "zip archive")


@pytest.mark.parametrize(
    "data",
    [
        b"\x89HDF\r\n\x1a\n" + bytes(64),
        b"\x93NUMPY\x01\x00" + bytes(64),
        b"<!DOCTYPE html><html></html>",
        bytes(64),
    ],
    ids=["hdf5", "numpy", "html", "zeros"],
)
def test_files_of_other_kinds_are_refused(tmp_path: Path, data: bytes) -> None:
    assert_refused(tmp_path / "x", data)


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    data = file_bytes(with_metadata())

    for length in range(len(data)):
        assert_refused(tmp_path / "x", data[:length])


def test_appended_bytes_are_refused(tmp_path: Path) -> None:
    assert_refused(tmp_path / "x", file_bytes(with_metadata()) + b"\x00", "damaged")


@pytest.mark.parametrize("length", [10**9, 2**31, 2**40, 2**63, 2**64 - 1])
def test_a_header_said_to_be_huge_is_refused(tmp_path: Path, length: int) -> None:
    assert_refused(
        tmp_path / "x", file_bytes(with_metadata(), length=length), "is not a safetensors file, or truncated"
    )


def test_a_header_of_a_gigabyte_is_refused_without_reading_it(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with path.open("wb") as file:  # sparse: takes no room on disk
        file.write(struct.pack("<Q", 10**9))
        file.truncate(10**9 + 8)

    tracemalloc.start()
    try:
        started = time.monotonic()
        with pytest.raises(CheckpointError, match="header of 1000000000 bytes, expected at most"):
            read_checkpoint(path)
        assert tracemalloc.get_traced_memory()[1] < 2**20
        assert time.monotonic() - started < 5
    finally:
        tracemalloc.stop()


def test_a_file_of_many_gigabytes_is_refused_without_reading_it(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(file_bytes(with_tensor(shape=[2**33], data_offsets=[0, 2**35])))
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size + 2**35)

    with pytest.raises(CheckpointError, match=r"x: \d+ bytes, expected at most"):
        read_checkpoint(path)


@pytest.mark.parametrize("kind", ["list", "object"])
def test_a_deeply_nested_header_is_refused(tmp_path: Path, kind: str) -> None:
    text = b"[" * 200_000 if kind == "list" else b'{"a":' * 200_000

    assert_refused(tmp_path / "x", file_bytes(text, b""), "bad header")


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"nonsense",
        b"[]",
        b"3",
        b"null",
        b'"text"',
        b"{}",
        b"\xef\xbb\xbf{}",
        b"NaN",
        b"9" * 10_000,
    ],
)
def test_a_header_that_is_no_json_object_is_refused(tmp_path: Path, text: bytes) -> None:
    assert_refused(tmp_path / "x", file_bytes(text))


@pytest.mark.parametrize(
    "text",
    [
        b'{"__metadata__": {"format": "pixel_embedded_affinity", "config": "\xff\xfe"}}',
        json.dumps(with_metadata()).encode("utf-16"),
        json.dumps(with_metadata(config="\u00b5"), ensure_ascii=False).encode("latin-1"),
    ],
    ids=["bad bytes", "utf-16", "latin-1"],
)
def test_a_header_that_is_not_utf8_is_refused(tmp_path: Path, text: bytes) -> None:
    assert_refused(tmp_path / "x", file_bytes(text), "bad header")


def test_half_a_character_in_the_metadata_is_refused(tmp_path: Path) -> None:
    assert_refused(tmp_path / "x", file_bytes(with_metadata(config="\ud800")), "damaged")


@pytest.mark.parametrize("key", ["w", "__metadata__"])
def test_a_repeated_key_is_refused(tmp_path: Path, key: str) -> None:
    header = with_metadata()
    text = json.dumps(header)[:-1] + f", {json.dumps(key)}: {json.dumps(header[key])}}}"

    assert_refused(tmp_path / "x", file_bytes(text.encode()), "a key is repeated")


def test_a_repeated_key_in_the_metadata_is_refused(tmp_path: Path) -> None:
    text = json.dumps(with_metadata()).replace('"config": "{}"', '"config": "{}", "config": "{1}"')

    assert_refused(tmp_path / "x", file_bytes(text.encode()), "a key is repeated")


@pytest.mark.parametrize(
    "value", [None, "", "pt", "Pixel_Embedded_Affinity", 1, ["pixel_embedded_affinity"], {}]
)
def test_a_file_of_another_program_is_refused(tmp_path: Path, value: object) -> None:
    assert_refused(tmp_path / "x", file_bytes(with_metadata(format=value)), "not a file of this library")


@pytest.mark.parametrize("metadata", [None, [], "x", 3, {}])
def test_a_file_without_proper_metadata_is_refused(tmp_path: Path, metadata: object) -> None:
    assert_refused(
        tmp_path / "x", file_bytes({"__metadata__": metadata, "w": WEIGHT}), "not a file of this library"
    )
    assert_refused(tmp_path / "x", safetensors.torch.save({"w": torch.ones(2)}), "not a file of this library")


@pytest.mark.parametrize("value", [None, "0", "2", "1.0", "", 1, True, "9" * 500, "\n"])
def test_another_format_version_is_refused(tmp_path: Path, value: object) -> None:
    assert_refused(
        tmp_path / "x", file_bytes(with_metadata(format_version=value)), "format version is .*expected '1'"
    )


@pytest.mark.parametrize("value", [None, "", "  \n", 3, {"a": 1}])
def test_a_file_without_a_configuration_is_refused(tmp_path: Path, value: object) -> None:
    assert_refused(tmp_path / "x", file_bytes(with_metadata(config=value)), "metadata lacks 'config'")


@pytest.mark.parametrize("value", [3, None, ["x"], {"a": "b"}])
def test_other_metadata_that_is_no_text_is_refused(tmp_path: Path, value: object) -> None:
    header = {"__metadata__": {**METADATA, "extra": value}, "w": WEIGHT}

    assert_refused(tmp_path / "x", file_bytes(header), "damaged")


@pytest.mark.parametrize("dtype", ["F8_E4M3", "F8_E5M2", "F4", "C64", "U64", "f32", "", None, 3, ["F32"], {}])
def test_a_tensor_of_another_type_is_refused(tmp_path: Path, dtype: object) -> None:
    assert_refused(
        tmp_path / "x", file_bytes(with_tensor(dtype=dtype)), "tensor 'w' has type .*expected one of"
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"shape": [3]},
        {"shape": [-2]},
        {"shape": [2.0]},
        {"shape": 2},
        {"shape": None},
        {"shape": [2**62, 4]},
        {"shape": [2**64, 0]},
        {"shape": [2**63, 2**63]},
        {"data_offsets": [0, 4]},
        {"data_offsets": [8, 0]},
        {"data_offsets": [-8, 0]},
        {"data_offsets": [4, 12]},
        {"data_offsets": [0, 2**63]},
        {"data_offsets": [0]},
        {"data_offsets": []},
        {"data_offsets": None},
        {"shape": [0], "data_offsets": [0, 0]},
    ],
    ids=str,
)
def test_a_tensor_that_does_not_fit_its_bytes_is_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    assert_refused(tmp_path / "x", file_bytes(with_tensor(**changes)), "no safetensors file, or damaged")


@pytest.mark.parametrize("size", [2**31, 2**62, 2**63, 2**64 - 1])
def test_an_empty_tensor_may_have_any_shape_that_torch_can_hold(tmp_path: Path, size: int) -> None:
    path = tmp_path / "x"
    path.write_bytes(file_bytes(with_tensor(shape=[0, size], data_offsets=[0, 0]), b""))

    if size < 2**63:
        assert read_checkpoint(path).tensors["w"].shape == (0, size)
    else:
        assert_refused(path, path.read_bytes(), "damaged")


@pytest.mark.parametrize("tensor", [None, 3, "x", [], {}])
def test_a_tensor_entry_of_another_kind_is_refused(tmp_path: Path, tensor: object) -> None:
    assert_refused(
        tmp_path / "x", file_bytes({"__metadata__": METADATA, "w": tensor}), "tensor 'w' has type None"
    )


@pytest.mark.parametrize("offsets", [[0, 8], [4, 12], [9, 17]], ids=["same", "overlapping", "hole"])
def test_tensors_that_share_bytes_or_leave_holes_are_refused(tmp_path: Path, offsets: list[int]) -> None:
    header = {"__metadata__": METADATA, "v": WEIGHT, "w": {**WEIGHT, "data_offsets": offsets}}

    assert_refused(tmp_path / "x", file_bytes(header, bytes(offsets[1])), "damaged")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_refused(tmp_path: Path, value: float) -> None:
    assert_refused(tmp_path / "x", file_bytes(with_metadata(), struct.pack("<2f", 1.0, value)), "'w' has NaN")


@pytest.mark.parametrize(("dtype", "bits"), [("F16", 0x7E00), ("BF16", 0x7FC0), ("F16", 0xFC00)])
def test_half_precision_weights_that_are_not_finite_are_refused(
    tmp_path: Path, dtype: str, bits: int
) -> None:
    header = with_tensor(dtype=dtype, shape=[4])

    assert_refused(tmp_path / "x", file_bytes(header, struct.pack("<4H", 0, 0, 0, bits)), "'w' has NaN")


def test_a_hostile_tensor_name_cannot_flood_or_break_the_message(tmp_path: Path) -> None:
    name = "\x1b[31m\n" + "x" * 10_000
    header = {"__metadata__": METADATA, name: WEIGHT}

    assert_refused(tmp_path / "x", file_bytes(header, struct.pack("<2f", 0.0, float("nan"))), "NaN")
    assert_refused(tmp_path / "x", file_bytes({"__metadata__": METADATA, name: {}}), "has type None")


def test_names_that_look_like_paths_are_only_names(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(file_bytes({"__metadata__": METADATA, "../../w": WEIGHT}))

    assert list(read_checkpoint(path).tensors) == ["../../w"]
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for path in (
        tmp_path / "nowhere",
        tmp_path / "loop",
        Path(os.devnull),
        Path("nul\x00byte"),
        Path("9" * 5000),
    ):
        with pytest.raises(CheckpointError, match="no such file"):
            read_checkpoint(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(CheckpointError, match="no such file"):
        read_checkpoint(tmp_path / "pipe")


@pytest.mark.parametrize(
    "file",
    [
        "../x.safetensors",
        "/etc/x.safetensors",
        "a/../x.safetensors",
        "..",
        "a..safetensors",
        "a\\x.safetensors",
        "~/x.safetensors",
    ],
)
def test_a_registry_whose_file_leaves_the_folder_is_refused(tmp_path: Path, file: str) -> None:
    registry = tmp_path / "registry.toml"
    registry.write_text(
        f"""
        [models.nuclei]
        version = "1.0"
        file = {json.dumps(file)}
        sha256 = "{"0" * 64}"
        size = 1
        urls = []
        license = "x"
        data = "x"
        description = "x"
        scores = {{}}
        """
    )

    with pytest.raises(InputError, match=r"file is .*expected a plain name"):
        list_models(registry)


def refusal_or_checkpoint(path: Path) -> CheckpointError | Checkpoint:
    try:
        return read_checkpoint(path)
    except CheckpointError as error:
        return error


def read_or_refuse(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    found = refusal_or_checkpoint(path)
    if isinstance(found, CheckpointError):
        assert str(found).startswith(f"{path}: ")
        assert "\n" not in str(found)
    else:
        assert isinstance(found.config_json, str)
        assert all(bool(tensor.isfinite().all()) for tensor in found.tensors.values())


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "x.safetensors"


@pytest.fixture(scope="module")
def valid(fuzzed: Path) -> bytes:
    tensors = {
        "w": torch.arange(6.0).reshape(2, 3),
        "h": torch.ones(3, dtype=torch.float16),
        "n": torch.tensor(3),
    }
    write_checkpoint(fuzzed, Checkpoint('{"a": 1}', tensors))
    return fuzzed.read_bytes()


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=300))
def test_random_bytes_are_read_or_refused(fuzzed: Path, data: bytes) -> None:
    read_or_refuse(fuzzed, data)


@settings(max_examples=200, deadline=None)
@given(changes=st.lists(st.tuples(st.integers(0, 10**4), st.integers(0, 255)), min_size=1, max_size=4))
def test_changed_bytes_are_read_or_refused(
    fuzzed: Path, valid: bytes, changes: list[tuple[int, int]]
) -> None:
    data = bytearray(valid)
    for position, value in changes:
        data[position % len(data)] = value
    read_or_refuse(fuzzed, bytes(data))


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
SIZES = st.sampled_from([0, 1, 2, 4, 8, 2**31, 2**32, 2**63, 2**64, -1])
TENSORS = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "F16", "BF16", "F64", "I64", "BOOL", "U8", "F8_E5M2"]),
        "shape": st.lists(SIZES, max_size=4),
        "data_offsets": st.lists(SIZES, min_size=2, max_size=2),
    },
    optional={"extra": JSON_VALUES},
)


@settings(max_examples=100, deadline=None)
@given(
    tensors=st.dictionaries(st.text(max_size=5), TENSORS | JSON_VALUES, max_size=3),
    changes=st.dictionaries(
        st.sampled_from(["format", "format_version", "config", "extra"]), JSON_VALUES, max_size=1
    ),
    body=st.binary(max_size=16),
)
def test_generated_headers_are_read_or_refused(
    fuzzed: Path, tensors: dict[str, Any], changes: dict[str, Any], body: bytes
) -> None:
    read_or_refuse(fuzzed, file_bytes({"__metadata__": {**METADATA, **changes}, **tensors}, body))
