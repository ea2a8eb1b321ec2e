"""Registries: a file in a room, a call, or an installed package adds what the whole library then finds by name."""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny3d

from pixel_embedded_affinity.cli.inputs import find_images
from pixel_embedded_affinity.clustering import get_clusterer
from pixel_embedded_affinity.clustering.base import CLUSTERERS
from pixel_embedded_affinity.config.model import NetworkConfig
from pixel_embedded_affinity.errors import InputError, MissingDependencyError
from pixel_embedded_affinity.export.base import EXPORTERS, Result
from pixel_embedded_affinity.image import as_image
from pixel_embedded_affinity.io.read import image_suffixes, read_image
from pixel_embedded_affinity.io.readers.base import READERS
from pixel_embedded_affinity.network.base import NETWORKS
from pixel_embedded_affinity.network.build import build_network
from pixel_embedded_affinity.registry import Registry
from pixel_embedded_affinity.testing import check_clusterer, check_network

ALL: list[Registry[Any]] = [CLUSTERERS, NETWORKS, EXPORTERS, READERS]
BY_KIND = {registry.kind: registry for registry in ALL}
AddFile = Callable[[str, str, str], None]
Install = Callable[..., None]

CLUSTERER = """
from pixel_embedded_affinity.clustering.connected_components import ConnectedComponents

class OnePiece(ConnectedComponents):
    pass
"""
NETWORK = """
import tiny3d

class OnePiece(tiny3d.TinyUNet3d):
    pass
"""
EXPORTER = """
class OnePiece:
    suffix = "_count.txt"
    help = "the number of objects"

    def write(self, path, result):
        path.write_text(str(result.labels.max()))
"""
READER = """
import numpy as np
from pixel_embedded_affinity.io.readers.base import Source

class OnePiece:
    suffixes = (".one",)
    signatures = (b"ONE",)

    def read(self, path):
        return Source(np.frombuffer(path.read_bytes()[3:], np.uint8).reshape(2, -1), "YX")
"""
SOURCES = {"clusterer": CLUSTERER, "architecture": NETWORK, "exporter": EXPORTER, "reader": READER}


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep what a test adds to that test."""
    for registry in ALL:
        monkeypatch.setattr(registry, "_registered", dict(registry._registered))
    yield
    for registry in ALL:
        registry.__dict__.pop("built_in", None)
        sys.modules.pop(f"{registry.room}.one_piece", None)


@pytest.fixture
def add_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AddFile:
    """Put a file into a room."""

    def add(kind: str, name: str, source: str) -> None:
        room = importlib.import_module(BY_KIND[kind].room)
        folder = tmp_path / kind
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.py").write_text(source, encoding="utf-8")
        monkeypatch.setattr(room, "__path__", [*room.__path__, str(folder)])
        BY_KIND[kind].__dict__.pop("built_in", None)
        importlib.invalidate_caches()

    return add


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Lay a package out as an installer does, in a folder on the import path."""

    def write(package: str, source: str, **entries: str) -> None:
        folder = tmp_path / package
        metadata = folder / f"{package}-1.0.dist-info"
        metadata.mkdir(parents=True)
        (folder / f"{package}.py").write_text(source, encoding="utf-8")
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = [f"[{BY_KIND[kind].group}]\n{entry}\n" for kind, entry in entries.items()]
        (metadata / "entry_points.txt").write_text("\n".join(lines))
        monkeypatch.syspath_prepend(folder)
        monkeypatch.delitem(sys.modules, package, raising=False)

    return write


def use(kind: str, name: str, folder: Path) -> None:
    """Reach one by its name, where the library does."""
    if kind == "clusterer":
        check_clusterer(get_clusterer(name, threshold=0.5))
    elif kind == "architecture":
        assert build_network(NetworkConfig(name, in_channels=1, width=3)).ndim == 3
        check_network(NETWORKS.get(name), skip=["reach", "shift"])
    elif kind == "exporter":
        labels = np.ones((2, 2), np.int32)
        EXPORTERS.build(name).write(folder / "a.txt", Result(labels, labels.astype(np.float32), labels, dict))
        assert (folder / "a.txt").read_text() == "1"
    else:
        path = folder / "image.ONE"
        path.write_bytes(b"ONE\1\2\3\4")
        assert ".one" in image_suffixes()
        assert [one.image for one in find_images([str(folder)]).images] == [path]
        np.testing.assert_array_equal(read_image(path), [[1, 2], [3, 4]])
        np.testing.assert_array_equal(as_image(path, channels=1).values, [[[1, 2], [3, 4]]])


# --- one file, one registration, one entry point -----------------------------------------------------------


@pytest.mark.parametrize("kind", SOURCES)
def test_adding_one_touches_its_file_only(kind: str, add_file: AddFile, tmp_path: Path) -> None:
    add_file(kind, "one_piece", SOURCES[kind])
    registry = BY_KIND[kind]
    assert "one_piece" in registry.names()
    assert f"{registry.room}.one_piece" not in sys.modules
    (tmp_path / "files").mkdir()
    use(kind, "one_piece", tmp_path / "files")


@pytest.mark.parametrize("kind", SOURCES)
def test_one_of_another_package_is_loaded_when_asked_for(kind: str, install: Install, tmp_path: Path) -> None:
    package = f"pea_plugin_of_{kind}"
    install(package, SOURCES[kind], **{kind: f"theirs = {package}:OnePiece"})
    assert "theirs" in BY_KIND[kind].names()
    assert package not in sys.modules
    (tmp_path / "files").mkdir()
    use(kind, "theirs", tmp_path / "files")


@pytest.mark.parametrize("kind", SOURCES)
def test_one_is_registered_in_code(kind: str, tmp_path: Path) -> None:
    space: dict[str, Any] = {"__name__": "made_here"}
    exec(SOURCES[kind], space)
    BY_KIND[kind].register("ours", space["OnePiece"])
    (tmp_path / "files").mkdir()
    use(kind, "ours", tmp_path / "files")
    # A cell of a notebook that defines and registers it runs again.
    exec(SOURCES[kind], space)
    BY_KIND[kind].register("ours", space["OnePiece"])
    assert BY_KIND[kind].get("ours") is space["OnePiece"]
    with pytest.raises(InputError, match=f"{kind} 'ours' exists already"):
        BY_KIND[kind].register("ours", lambda: space["OnePiece"]())


# --- what holds for all ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SOURCES)
def test_every_built_in_one_is_a_class_of_the_name_of_its_file(kind: str) -> None:
    registry = BY_KIND[kind]
    assert registry.built_in
    for name in registry.built_in:
        assert registry.get(name).__name__.lower() == name.replace("_", "")
        assert registry.get(name).__module__ == f"{registry.room}.{name}"


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("name", ["one", "", None, 3, "../registry", "base", "__init__"])
def test_an_unknown_name_is_refused_with_the_valid_ones(kind: str, name: Any) -> None:
    registry = BY_KIND[kind]
    with pytest.raises(registry._unknown) as caught:
        registry.get(name)
    assert str(caught.value).startswith(f"unknown {kind} {name!r}; the valid ones are ")
    assert str(caught.value).endswith("; one of a plug-in is valid once its package is installed")
    assert all(valid in str(caught.value) for valid in registry.built_in)


def test_a_plug_in_never_replaces_what_is_built_in_and_two_of_one_name_are_refused(
    install: Install, caplog: pytest.LogCaptureFixture
) -> None:
    install("pea_first", NETWORK, architecture="half_unet = pea_first:OnePiece\ndouble = pea_first:OnePiece")
    install("pea_second", NETWORK, architecture="double = pea_second:OnePiece")
    with caplog.at_level(logging.WARNING):
        names = NETWORKS.names()
    assert "plug-in architecture half_unet = pea_first:OnePiece is ignored" in caplog.text
    assert NETWORKS.get("half_unet").__name__ == "HalfUNet"
    assert "double" in names
    with pytest.raises(MissingDependencyError, match=r"architecture 'double': \['pea_first.*pea_second"):
        NETWORKS.get("double")


def test_a_broken_plug_in_is_left_out_of_the_formats_and_does_not_break_the_others(
    install: Install, caplog: pytest.LogCaptureFixture
) -> None:
    install("pea_broken", "", reader="broken = pea_broken:Missing")
    with caplog.at_level(logging.WARNING):
        assert set(image_suffixes()) == {
            *(".tif", ".tiff", ".btf", ".tf2", ".tf8", ".png", ".jpg", ".jpeg", ".zarr"),
            *(".h5", ".hdf5", ".hdf"),
        }
    assert "reader 'broken' is left out: the plug-in of reader 'broken'" in caplog.text


def test_a_file_without_its_class_is_named(add_file: AddFile) -> None:
    add_file("exporter", "one_piece", "class Other:\n    pass\n")
    with pytest.raises(InputError, match=r"export\.one_piece holds no class for the exporter 'one_piece'"):
        EXPORTERS.get("one_piece")


def test_content_that_is_not_of_its_format_is_refused_with_what_it_is(
    install: Install, tmp_path: Path
) -> None:
    install("pea_format", READER, reader="one = pea_format:OnePiece")
    path = tmp_path / "image.png"
    path.write_bytes(b"ONE\1\2")
    with pytest.raises(InputError, match="is named as PNG but its content is ONE; expected PNG"):
        read_image(path)
    path = tmp_path / "image.one"
    path.write_bytes(b"\x89PNG")
    with pytest.raises(InputError, match="is named as ONE but its content is PNG; expected ONE"):
        read_image(path)
    path.write_bytes(b"ONE\1\2\3")
    with pytest.raises(InputError, match=r"cannot be read .ValueError: .*expected an intact ONE file"):
        read_image(path)


def test_a_factory_that_fails_on_its_settings_is_an_input_error() -> None:
    def factory(width: int) -> Any:
        return tiny3d.TinyUNet3d(width=width)

    NETWORKS.register("failing", factory)
    with pytest.raises(InputError, match=r"'failing' refuses its settings \{'width': -3\}: "):
        NETWORKS.build("failing", width=-3)
    with pytest.raises(
        InputError, match=r"unknown settings \['depth'\] of architecture 'failing'; .*'width'"
    ):
        NETWORKS.build("failing", depth=3)
