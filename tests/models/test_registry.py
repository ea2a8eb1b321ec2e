"""The registry lists models and refuses whatever is not well formed."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixel_embedded_affinity.errors import InputError, UnknownModelError
from pixel_embedded_affinity.models.registry import (
    REGISTRY_PATH,
    ModelEntry,
    get_entry,
    list_models,
    list_versions,
    read_registry,
)

FIELDS: dict[str, Any] = {
    "version": "1.0",
    "file": "nuclei-1.0.safetensors",
    "sha256": "0123456789abcdef" * 4,
    "size": 1234,
    "urls": ["https://example.org/nuclei-1.0.safetensors", "http://example.org:8080/a/b?c=d"],
    "license": "CC0-1.0",
    "data": "fields drawn for this test",
    "description": "Nuclei that do not exist.",
    "scores": {"aji": 0.5, "count": 3},
}


def write_registry(folder: Path, models: dict[str, dict[str, Any]]) -> Path:
    """Write a registry; JSON texts of these values are TOML values as well, but for tables."""
    lines = []
    for name, fields in models.items():
        tables = {key: value for key, value in fields.items() if isinstance(value, dict)}
        lines.append(f"[models.{json.dumps(name)}]")
        lines += [f"{key} = {json.dumps(fields[key])}" for key in fields if key not in tables]
        for table, rows in tables.items():
            lines.append(f"[models.{json.dumps(name)}.{table}]")
            lines += [f"{key} = {json.dumps(value)}" for key, value in rows.items()]
    path = folder / "registry.toml"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_every_field_arrives_in_the_entry(tmp_path: Path) -> None:
    registry = write_registry(tmp_path, {"nuclei": FIELDS})

    entry = get_entry("nuclei", registry)

    assert entry == ModelEntry(name="nuclei", **{**FIELDS, "urls": tuple(FIELDS["urls"])})
    assert isinstance(entry.urls, tuple)


def test_models_are_listed_by_name(tmp_path: Path) -> None:
    registry = write_registry(tmp_path, {"nuclei": FIELDS, "cells": FIELDS, "a_b-2": FIELDS})

    assert list_models(registry) == ["a_b-2", "cells", "nuclei"]
    assert set(read_registry(registry)) == {"nuclei", "cells", "a_b-2"}


def test_a_version_is_asked_for_behind_the_name(tmp_path: Path) -> None:
    old = {**FIELDS, "version": "0.9", "file": "old.safetensors"}
    registry = write_registry(tmp_path, {"nuclei": FIELDS, "nuclei@0.9": old, "cells": FIELDS})

    assert list_models(registry) == ["cells", "nuclei"]
    assert get_entry("nuclei", registry).version == FIELDS["version"]
    assert get_entry(f"nuclei@{FIELDS['version']}", registry) == get_entry("nuclei", registry)
    earlier = get_entry("nuclei@0.9", registry)
    assert (earlier.name, earlier.version, earlier.file) == ("nuclei", "0.9", "old.safetensors")
    assert list_versions("nuclei", registry) == [FIELDS["version"], "0.9"]
    assert list_versions("cells", registry) == [FIELDS["version"]]


@pytest.mark.parametrize("name", ["nuclei@3", "nuclei@0.9.0", "nuclei@ 0.9", "nuclei@0.9@0.9"])
def test_an_unknown_version_is_refused_with_the_valid_ones(tmp_path: Path, name: str) -> None:
    registry = write_registry(tmp_path, {"nuclei": FIELDS, "nuclei@0.9": {**FIELDS, "version": "0.9"}})

    with pytest.raises(UnknownModelError) as caught:
        get_entry(name, registry)
    version = name.partition("@")[2]
    expected = f"model 'nuclei' has no version {version!r}; valid versions: {FIELDS['version']}, 0.9"
    assert str(caught.value) == expected


@pytest.mark.parametrize("name", ["yeast@1.0", "nuclei@", "@1.0"])
def test_a_version_of_no_model_is_an_unknown_model(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnknownModelError, match=f"unknown model '{name}'; valid models: nuclei"):
        get_entry(name, write_registry(tmp_path, {"nuclei": FIELDS}))


@pytest.mark.parametrize("key", ["nuclei@0.8", "cells@0.9", "nuclei@"])
def test_an_earlier_version_must_fit_its_key(tmp_path: Path, key: str) -> None:
    registry = write_registry(tmp_path, {"nuclei": FIELDS, key: {**FIELDS, "version": "0.9"}})
    with pytest.raises(InputError, match=r"an earlier version is .*beside \[models\.NAME\]"):
        list_models(registry)


@pytest.mark.parametrize("text", ["", "# only a comment\n", "[models]\n"])
def test_a_registry_without_models_is_valid(tmp_path: Path, text: str) -> None:
    registry = tmp_path / "registry.toml"
    registry.write_text(text)

    assert list_models(registry) == []
    with pytest.raises(UnknownModelError, match="registry is empty"):
        get_entry("nuclei", registry)


def test_the_registry_of_the_library_is_well_formed() -> None:
    assert REGISTRY_PATH.is_file()
    assert set(list_models()) == {entry.name for entry in read_registry(REGISTRY_PATH).values()}


def test_models_without_an_address_are_bundled_and_intact() -> None:
    for entry in read_registry().values():
        bundled = REGISTRY_PATH.with_name("bundled") / entry.file
        assert entry.urls or bundled.is_file()
        assert not bundled.exists() or bundled.stat().st_size == entry.size


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("Nuclei", "; did you mean 'nuclei'?"),
        ("NUCLEUS", "; did you mean 'nuclei'?"),
        ("cels", "; did you mean 'cells'?"),
        ("nuclei.safetensors", "; for a file use Segmenter.from_file (pea: --weights)"),
        ("models/nuclei", "; for a file use Segmenter.from_file (pea: --weights)"),
        (r"models\nuclei", "; for a file use Segmenter.from_file (pea: --weights)"),
        (Path("a.SAFETENSORS"), "; for a file use Segmenter.from_file (pea: --weights)"),
        ("yeast", ""),
        ("", ""),
        (3, ""),
    ],
)
def test_an_unknown_name_is_refused_with_what_may_be_meant(tmp_path: Path, name: Any, advice: str) -> None:
    registry = write_registry(tmp_path, {"nuclei": FIELDS, "cells": FIELDS})

    with pytest.raises(UnknownModelError) as caught:
        get_entry(name, registry)
    assert str(caught.value) == f"unknown model {name!r}; valid models: cells, nuclei{advice}"


@pytest.mark.parametrize("name", ["Nuclei", "nuclei ", "", None, 3, ["nuclei"]])
def test_an_unknown_name_is_refused_with_the_valid_ones(tmp_path: Path, name: Any) -> None:
    registry = write_registry(tmp_path, {"nuclei": FIELDS, "cells": FIELDS})

    with pytest.raises(UnknownModelError, match="valid models: cells, nuclei"):
        get_entry(name, registry)


@pytest.mark.parametrize("field", FIELDS)
def test_a_missing_field_is_named(tmp_path: Path, field: str) -> None:
    fields = {key: value for key, value in FIELDS.items() if key != field}

    with pytest.raises(InputError, match=rf"registry.toml: model 'nuclei'.*missing fields \['{field}'\]"):
        list_models(write_registry(tmp_path, {"nuclei": fields}))


@pytest.mark.parametrize("field", ["url", "Version", "name", "md5"])
def test_an_unknown_field_is_named(tmp_path: Path, field: str) -> None:
    with pytest.raises(InputError, match=rf"model 'nuclei'.*unknown fields \['{field}'\]"):
        list_models(write_registry(tmp_path, {"nuclei": {**FIELDS, field: "x"}}))


BAD_VALUES = [
    ("version", 1.0),
    ("version", ""),
    ("version", "1/0"),
    ("version", "1..0"),
    ("version", "v1"),
    ("version", "1" * 33),
    ("file", "nuclei.pth"),
    ("file", ".safetensors"),
    ("file", "folder/nuclei.safetensors"),
    ("file", "caf\u00e9.safetensors"),
    ("file", 3),
    ("sha256", "0123"),
    ("sha256", "0123456789ABCDEF" * 4),
    ("sha256", "g" * 64),
    ("sha256", "0" * 64 + "\n"),
    ("size", 0),
    ("size", -5),
    ("size", True),
    ("size", 5.0),
    ("size", "5"),
    ("urls", "https://example.org/x"),
    ("urls", ["ftp://example.org/x"]),
    ("urls", ["file:///weights/x"]),
    ("urls", ["https://"]),
    ("urls", ["https://user:secret@example.org/x"]),
    ("urls", ["https://example.org/a b"]),
    ("urls", ["https://example.org/a\nb"]),
    ("urls", ["https://[broken/x"]),
    ("urls", [3]),
    ("license", ""),
    ("license", "  "),
    ("data", 3),
    ("description", ["x"]),
    ("scores", 0.5),
    ("scores", {"aji": "0.5"}),
    ("scores", {"aji": True}),
    ("scores", {"aji": [0.5]}),
]


@pytest.mark.parametrize(("field", "value"), BAD_VALUES)
def test_a_bad_value_is_refused_naming_file_model_and_field(tmp_path: Path, field: str, value: Any) -> None:
    with pytest.raises(InputError, match=rf"registry.toml: model 'nuclei': {field} is .*, expected "):
        list_models(write_registry(tmp_path, {"nuclei": {**FIELDS, field: value}}))


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_a_score_that_is_not_finite_is_refused(tmp_path: Path, value: str) -> None:
    registry = write_registry(tmp_path, {"nuclei": FIELDS})
    registry.write_text(registry.read_text().replace("aji = 0.5", f"aji = {value}"))

    with pytest.raises(InputError, match="scores is"):
        list_models(registry)


@pytest.mark.parametrize(
    "name", ["Nuclei", "2d", "../nuclei", "a/b", "a.b", "", "n" * 65, "nuclei\n", "\u0430"]
)
def test_a_bad_model_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"name is .*, expected lower-case letters"):
        list_models(write_registry(tmp_path, {name: FIELDS}))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("models = 3", "expected nothing but"),
        ("[model.nuclei]", "expected nothing but.*model"),
        ("x = 1\n[models]", "expected nothing but.*x"),
        ("[models]\nnuclei = 3", "expected a table"),
        ("[models", "not a UTF-8 TOML file"),
        ("[models.a]\n[models.a]", "not a UTF-8 TOML file"),
        ("\x00", "not a UTF-8 TOML file"),
        ("x = " + "[" * 100_000, "not a UTF-8 TOML file"),
    ],
)
def test_a_malformed_registry_is_refused(tmp_path: Path, text: str, message: str) -> None:
    registry = tmp_path / "registry.toml"
    registry.write_text(text)

    with pytest.raises(InputError, match=message):
        list_models(registry)


def test_a_missing_registry_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere\.toml: cannot be read"):
        list_models(tmp_path / "nowhere.toml")


@settings(max_examples=100, deadline=None)
@given(
    data=st.one_of(
        st.binary(max_size=60), st.text(max_size=60).map(lambda text: text.encode("utf-8", "replace"))
    )
)
def test_any_bytes_give_models_or_our_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    registry = tmp_path_factory.mktemp("any") / "registry.toml"
    registry.write_bytes(data)

    with contextlib.suppress(InputError):
        assert list_models(registry) == []


def test_settings_may_be_left_out_or_replace_those_of_the_file(tmp_path: Path) -> None:
    registry = write_registry(tmp_path, {"nuclei": FIELDS})
    assert get_entry("nuclei", registry).settings == {}
    lines = registry.read_text(encoding="utf-8") + '\n[models.nuclei.settings]\n"postprocess.min_size" = 5\n'
    registry.write_text(lines, encoding="utf-8")
    assert get_entry("nuclei", registry).settings == {"postprocess.min_size": 5}
    registry.write_text(lines.replace("[models.nuclei.settings]", "[models.nuclei]"), encoding="utf-8")
    with pytest.raises(InputError):
        get_entry("nuclei", registry)


@pytest.mark.parametrize("name", list_models())
def test_the_shipped_settings_are_inference_settings(name: str) -> None:
    from pixel_embedded_affinity.config.model import ModelConfig

    settings_of = get_entry(name).settings
    ModelConfig().with_values(settings_of)


def test_two_versions_may_have_one_file_and_settings_of_their_own() -> None:
    from pixel_embedded_affinity import Segmenter

    later, before = get_entry("nuclei@0.3.0"), get_entry("nuclei@0.2.0")
    assert (later.file, later.sha256) == (before.file, before.sha256)
    for entry, repulsion in ((later, 0.4), (before, 0.8)):
        config = Segmenter.pretrained(f"nuclei@{entry.version}", device="cpu", offline=True).config
        assert (config.version, config.clusterer_settings["repulsion"]) == (entry.version, repulsion)
