"""Files of microscopes: a module with the interface of bioio stands for it, whose files are NumPy's."""

from __future__ import annotations

import importlib.machinery
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest

from pixel_embedded_affinity.errors import InputError, MissingDependencyError
from pixel_embedded_affinity.image import as_image, read_image
from pixel_embedded_affinity.io.read import image_suffixes, lacking, list_series
from pixel_embedded_affinity.io.selection import Selection
from pixel_embedded_affinity.large.lazy import open_image

Array = np.ndarray[Any, Any]


class Sizes(NamedTuple):
    Z: float | None
    Y: float | None
    X: float | None


class Unread:
    """Stands for a dask array: it counts the values that are read."""

    def __init__(self, values: Array, read: list[int]) -> None:
        self._values, self._read = values, read
        self.shape, self.dtype = values.shape, values.dtype

    def __getitem__(self, index: Any) -> Any:
        return Unread(self._values[index], self._read)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Array:
        self._read.append(self._values.size)
        return np.asarray(self._values, dtype=dtype)


class BioImage:
    """What the library uses of bioio.BioImage; a scene is an array of a file of NumPy."""

    read: list[int]

    def __init__(self, path: Path) -> None:
        if Path(path).read_bytes()[:2] != b"PK":
            raise UnsupportedFileFormatError("BioImage does not support the image")
        self._scenes = dict(np.load(path))
        self.scenes = tuple(self._scenes)
        self.set_scene(0)

    def set_scene(self, number: int) -> None:
        self._values = self._scenes[self.scenes[number]]
        self.shape, self.dtype = self._values.shape, self._values.dtype
        self.dims = SimpleNamespace(order="TCZYX" + "S" * (self._values.ndim - 5))
        # As bioio-czi has them.
        self.channel_names = [np.str_(name) for name in ("DAPI", "GFP", "RFP")[: self.shape[1]]]
        self.physical_pixel_sizes = Sizes(0.0 if self.shape[2] == 1 else 1.0, 0.325, 0.325)
        self.resolution_levels = (0, 1)

    @property
    def dask_data(self) -> Unread:
        return Unread(self._values, self.read)


class UnsupportedFileFormatError(Exception):
    """As bioio has it: neither an OSError nor a ValueError."""


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Install the module, with a plug-in for CZI; return how many values were read each time."""
    counts: list[int] = []
    monkeypatch.setattr(BioImage, "read", counts, raising=False)
    for name in ("bioio", "bioio_czi"):
        module = ModuleType(name)
        module.__spec__ = importlib.machinery.ModuleSpec(name, None)
        monkeypatch.setitem(sys.modules, name, module)
    sys.modules["bioio"].BioImage = BioImage  # type: ignore[attr-defined]
    return counts


def write(path: Path, *scenes: Array) -> Path:
    with path.open("wb") as file:
        np.savez(file, **{f"Image:{number}": values for number, values in enumerate(scenes)})
    return path


@pytest.fixture
def stack() -> Array:
    return np.random.default_rng(0).integers(0, 4000, (2, 3, 4, 20, 28)).astype(np.uint16)


@pytest.mark.usefixtures("read")
def test_what_a_file_says_is_known_without_its_values(tmp_path: Path, stack: Array, read: list[int]) -> None:
    path = write(tmp_path / "a.CZI", stack, stack[:1, :1, :1])
    first, second = list_series(path)
    assert (first.name, first.source.axes, first.source.values.shape) == ("Image:0", "TCZYX", stack.shape)
    assert first.source.channels == ("DAPI", "GFP", "RFP")
    assert first.source.pixel_size == {"X": 0.325, "Y": 0.325, "Z": 1.0}
    assert second.source.pixel_size == {"X": 0.325, "Y": 0.325}
    assert first.levels == 2
    assert read == []


def test_one_part_is_chosen_as_in_any_file_and_only_it_is_read(
    tmp_path: Path, stack: Array, read: list[int]
) -> None:
    path = write(tmp_path / "a.czi", stack[:, :, :1])
    found = as_image(path, channels=1, selection=Selection(channel="GFP", time=1))
    np.testing.assert_array_equal(found.values[0], stack[1, 1, 0])
    assert found.pixel_size == (0.325, 0.325)
    assert read == [20 * 28]
    volume = as_image(
        write(tmp_path / "b.czi", stack), channels=1, ndim=3, selection=Selection(channel=0, time=0)
    )
    np.testing.assert_array_equal(volume.values[0], stack[0, 0])
    assert volume.pixel_size == (1.0, 0.325, 0.325)


@pytest.mark.usefixtures("read")
def test_colors_are_channels(tmp_path: Path) -> None:
    colors = np.random.default_rng(0).integers(0, 255, (1, 1, 1, 20, 28, 3)).astype(np.uint8)
    found = as_image(write(tmp_path / "a.czi", colors), channels=3)
    np.testing.assert_array_equal(found.values, np.moveaxis(colors[0, 0, 0], -1, 0))


@pytest.mark.usefixtures("read")
def test_one_of_several_scenes_must_be_chosen(tmp_path: Path, stack: Array) -> None:
    path = write(tmp_path / "a.czi", stack[:1, :1, :1], stack[1:, :1, :1])
    with pytest.raises(InputError, match=r"holds 2 separate images: 0 \(axes TCZYX.*such as series=0"):
        read_image(path)
    np.testing.assert_array_equal(read_image(path, series=1), stack[1:, :1, :1])
    with pytest.raises(InputError, match="has no series 2"):
        read_image(path, series=2)


def test_a_file_is_read_in_parts(tmp_path: Path, stack: Array, read: list[int]) -> None:
    lazy = open_image(
        write(tmp_path / "a.czi", stack), channels=1, ndim=3, selection=Selection(channel=2, time=0)
    )
    assert lazy.spatial_shape == (4, 20, 28)
    box = (slice(1, 3), slice(0, 5), slice(4, 9))
    np.testing.assert_array_equal(lazy.read(box)[0], stack[0, 2][box])
    assert read == [2 * 5 * 5]


@pytest.mark.usefixtures("read")
def test_a_damaged_file_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "a.czi"
    path.write_bytes(b"ZISRAWFILE" + bytes(500))
    with pytest.raises(InputError, match=r"cannot be read by bioio.*intact \.czi file; copy it again"):
        read_image(path)
    path.write_bytes(b"")
    with pytest.raises(InputError, match="is empty"):
        read_image(path)


@pytest.mark.usefixtures("read")
def test_planes_that_a_plug_in_cannot_read_are_an_error_of_the_library(
    tmp_path: Path, stack: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> Array:
        raise ValueError("cannot select frame dimension 'Z'")

    monkeypatch.setattr(Unread, "__array__", fail)
    path = write(tmp_path / "a.czi", stack)
    with pytest.raises(InputError, match=r"values of .* \(ValueError: cannot select"):
        as_image(path, channels=1, selection=Selection(channel=0, time=0, z=0))


@pytest.mark.usefixtures("read")
def test_the_endings_are_those_of_the_plug_ins_that_are_installed(tmp_path: Path) -> None:
    assert ".czi" in image_suffixes()
    assert ".czi" not in lacking()
    assert ".nd2" not in image_suffixes()
    assert lacking()[".nd2"] == "pip install 'pixel-embedded-affinity[bioio]'"
    (tmp_path / "a.nd2").write_bytes(bytes(500))
    with pytest.raises(MissingDependencyError, match=r"pixel-embedded-affinity\[bioio\]'\), or save"):
        read_image(tmp_path / "a.nd2")


def test_without_the_package_the_message_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for name in ("a.czi", "b.LIF", "c.nd2"):
        (tmp_path / name).write_bytes(bytes(500))
        with pytest.raises(MissingDependencyError, match=r"pip install 'pixel-embedded-affinity\[bioio\]'"):
            read_image(tmp_path / name)
    (tmp_path / "d.vsi").write_bytes(bytes(500))
    with pytest.raises(MissingDependencyError, match="bioio-bioformats, which needs Java"):
        read_image(tmp_path / "d.vsi")
    assert not {".czi", ".nd2", ".lif", ".vsi"} & set(image_suffixes())
