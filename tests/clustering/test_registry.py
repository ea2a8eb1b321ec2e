"""Clusterers by name: built in, registered, and from installed plug-ins."""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass

import numpy as np
import pytest

from pixel_embedded_affinity.affinity import affinities
from pixel_embedded_affinity.clustering import (
    Clusterer,
    ConnectedComponents,
    MutexWatershed,
    base,
    get_clusterer,
    list_clusterers,
    register,
)
from pixel_embedded_affinity.clustering.base import described
from pixel_embedded_affinity.errors import InputError, MissingDependencyError, UnknownClustererError
from pixel_embedded_affinity.neighborhood import Neighborhood
from pixel_embedded_affinity.testing import check_clusterer, synthetic_embedding

PLUGIN = '''
"""A clusterer of another lab: foreground pixels join their neighbors above a threshold."""

from dataclasses import dataclass

from pixel_embedded_affinity.clustering import ConnectedComponents


@dataclass(frozen=True)
class Careful:
    caution: float = 0.7

    def __post_init__(self):
        if self.caution > 1:
            raise ValueError(f"caution must be at most 1, got {self.caution}")

    def __call__(self, affinities, *, foreground=None):
        return ConnectedComponents(self.caution)(affinities, foreground=foreground)
'''


@pytest.fixture(autouse=True)
def empty_registry(monkeypatch):
    """Keep what a test registers to that test."""
    monkeypatch.setattr(base.CLUSTERERS, "_registered", {})


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Lay a package out as an installer does, in a folder on the import path."""

    def write(package, entries, source=PLUGIN):
        folder = tmp_path / package
        metadata = folder / f"{package}-1.0.dist-info"
        metadata.mkdir(parents=True)
        (folder / f"{package}.py").write_text(source)
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = [f"{name} = {value}" for name, value in entries.items()]
        (metadata / "entry_points.txt").write_text("\n".join([f"[{base.CLUSTERERS.group}]", *lines]))
        monkeypatch.syspath_prepend(folder)
        monkeypatch.delitem(sys.modules, package, raising=False)

    return write


def test_the_built_in_clusterers_are_listed():
    assert {"connected_components", "mutex_watershed"} <= set(list_clusterers())
    assert list_clusterers() == sorted(list_clusterers())


def test_a_built_in_clusterer_is_found_with_its_settings():
    assert get_clusterer("mutex_watershed") == MutexWatershed()
    assert get_clusterer("connected_components", threshold=0.8) == ConnectedComponents(0.8)
    assert isinstance(get_clusterer("mutex_watershed"), Clusterer)


@pytest.mark.parametrize("name", ["mutex", "MUTEX_WATERSHED", "", None, 3, ("mutex_watershed",)])
def test_an_unknown_name_is_refused_with_the_valid_ones(name):
    with pytest.raises(UnknownClustererError, match=r"connected_components.*mutex_watershed"):
        get_clusterer(name)


def test_an_unknown_setting_is_refused_with_the_valid_ones():
    with pytest.raises(InputError, match=r"'treshold'.*'threshold'"):
        get_clusterer("connected_components", treshold=0.5)


def test_settings_of_another_clusterer_are_refused():
    with pytest.raises(
        InputError,
        match=r"'threshold'.*'mutex_watershed'; the valid ones are \['agreement', 'engine', 'repulsion'\]",
    ):
        get_clusterer("mutex_watershed", threshold=0.5)


def test_a_setting_called_name_is_taken_for_a_setting():
    with pytest.raises(InputError, match=r"unknown settings \['name'\]"):
        get_clusterer("mutex_watershed", name="other")


def test_an_ill_typed_setting_is_refused():
    with pytest.raises(InputError, match="threshold must be a number"):
        get_clusterer("connected_components", threshold="high")


def test_a_registered_clusterer_is_found():
    register("mine", ConnectedComponents)
    assert get_clusterer("mine", threshold=0.25) == ConnectedComponents(0.25)
    assert "mine" in list_clusterers()


@pytest.mark.parametrize("name", ["mutex_watershed", "mine"])
def test_a_taken_name_cannot_be_registered(name):
    register("mine", ConnectedComponents)
    with pytest.raises(InputError, match="exists already"):
        register(name, MutexWatershed)


@pytest.mark.parametrize(("name", "factory"), [("", MutexWatershed), (3, MutexWatershed), ("mine", 3)])
def test_what_cannot_be_found_or_called_cannot_be_registered(name, factory):
    with pytest.raises(InputError):
        register(name, factory)


def test_a_factory_that_returns_no_callable_is_refused():
    register("broken", lambda: 3)
    with pytest.raises(InputError, match="int"):
        get_clusterer("broken")


def test_a_missing_setting_is_reported_as_such():
    def factory(radius):
        return ConnectedComponents(radius)

    register("radial", factory)
    with pytest.raises(InputError, match=r"'radial'.*radius"):
        get_clusterer("radial")


def test_a_factory_that_takes_any_setting_gets_all_of_them():
    register("free", lambda **settings: ConnectedComponents(**settings))
    assert get_clusterer("free", threshold=0.1) == ConnectedComponents(0.1)


def test_a_plug_in_is_listed_without_being_loaded_and_loaded_when_asked(install):
    install("pea_plugin_a", {"careful": "pea_plugin_a:Careful"})
    assert "careful" in list_clusterers()
    assert "pea_plugin_a" not in sys.modules
    clusterer = get_clusterer("careful", caution=0.9)
    assert clusterer.caution == 0.9


def test_a_plug_in_clusters_and_keeps_the_contract(install):
    install("pea_plugin_b", {"careful": "pea_plugin_b:Careful"})
    clusterer = get_clusterer("careful")
    truth = np.array([[1, 1, 0, 2], [1, 1, 0, 2]])
    given = affinities(synthetic_embedding(truth), Neighborhood.from_ranges([1, 3], 4))
    np.testing.assert_array_equal(clusterer(given, foreground=truth > 0), truth)
    check_clusterer(clusterer)


def test_settings_that_a_plug_in_refuses_are_input_errors(install):
    install("pea_plugin_c", {"careful": "pea_plugin_c:Careful"})
    with pytest.raises(InputError, match=r"'careful'.*caution must be at most 1"):
        get_clusterer("careful", caution=2)
    with pytest.raises(InputError, match=r"\['courage'\].*\['caution'\]"):
        get_clusterer("careful", courage=2)


@pytest.mark.parametrize("value", ["pea_plugin_d:Missing", "pea_not_there:Careful"])
def test_a_plug_in_that_cannot_be_loaded_is_named(install, value):
    install("pea_plugin_d", {"careful": value})
    with pytest.raises(MissingDependencyError, match=f"'careful'.*{value}"):
        get_clusterer("careful")


def test_a_plug_in_does_not_break_the_other_clusterers(install):
    install("pea_plugin_e", {"broken": "pea_not_there:Careful"})
    assert get_clusterer("mutex_watershed") == MutexWatershed()
    assert "broken" in list_clusterers()


def test_a_plug_in_never_replaces_a_built_in_clusterer(install, caplog):
    install("pea_plugin_f", {"mutex_watershed": "pea_plugin_f:Careful"})
    with caplog.at_level(logging.WARNING):
        list_clusterers()
    assert "pea_plugin_f:Careful is ignored" in caplog.text
    assert get_clusterer("mutex_watershed") == MutexWatershed()


def test_two_plug_ins_of_one_name_are_refused_when_asked_for(install):
    install("pea_plugin_g", {"careful": "pea_plugin_g:Careful"})
    install("pea_plugin_h", {"careful": "pea_plugin_h:Careful"})
    with pytest.raises(MissingDependencyError, match=r"pea_plugin_g.*pea_plugin_h"):
        get_clusterer("careful")


def test_the_name_of_a_plug_in_cannot_be_registered(install):
    install("pea_plugin_i", {"careful": "pea_plugin_i:Careful"})
    with pytest.raises(InputError, match="exists already"):
        register("careful", ConnectedComponents)


@pytest.mark.parametrize(
    ("clusterer", "name", "settings"),
    [
        (MutexWatershed(), "mutex_watershed", {}),
        (MutexWatershed(repulsion=0.5), "mutex_watershed", {"repulsion": 0.5}),
        (ConnectedComponents(0.75), "connected_components", {"threshold": 0.75}),
        (get_clusterer("agglomeration", smoothing=(1, 2)), "agglomeration", {"smoothing": [1.0, 2.0]}),
    ],
)
def test_a_clusterer_is_described_by_what_gives_it_again(clusterer, name, settings):
    assert described(clusterer) == (name, settings)
    assert get_clusterer(name, **settings) == clusterer


def test_a_registered_class_is_described_by_its_name_and_all_else_by_its_type():
    @dataclass(frozen=True)
    class Mine:
        size: int = 3

        def __call__(self, affinities, *, foreground=None):
            raise NotImplementedError

    assert described(Mine(5)) == ("Mine", {})
    register("mine", Mine)
    assert described(Mine(5)) == ("mine", {"size": 5})
    assert described(lambda affinities, *, foreground=None: None) == ("function", {})
