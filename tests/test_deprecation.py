from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

from pixel_embedded_affinity import deprecation
from pixel_embedded_affinity.deprecation import Deprecation, declared, deprecated, deprecated_argument
from pixel_embedded_affinity.errors import InputError

TIMES = {"since": "0.2", "removal": "0.4", "instead": "new()"}


@pytest.fixture(autouse=True)
def own_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """What these tests deprecate is not the library's."""
    monkeypatch.setattr(deprecation, "_declared", [])


def overdue(version: str) -> list[str]:
    return [entry.message for entry in declared() if entry.is_overdue(version)]


# --- the library's own ------------------------------------------------------------------------------------


EVERY_MODULE = """
import importlib, pkgutil
import pixel_embedded_affinity as package
from pixel_embedded_affinity.deprecation import declared

for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
overdue = [entry.message for entry in declared() if entry.is_overdue(package.__version__)]
raise SystemExit("; ".join(overdue) or 0)
"""


def test_what_is_deprecated_is_gone_by_the_release_that_was_named() -> None:
    # A process of its own: here, modules that other tests have imported would not declare theirs again.
    subprocess.run([sys.executable, "-c", EVERY_MODULE], check=True)


def test_the_check_finds_what_is_still_there_when_its_release_is_reached() -> None:
    deprecated(**TIMES)(lambda: None)
    assert overdue("0.3.9") == []
    assert len(overdue("0.4.0")) == 1
    # The development version on the way to 0.4 is where the removal has to be made.
    assert len(overdue("0.4.0.dev1")) == len(overdue("0.4rc1")) == len(overdue("1.0")) == 1


# --- functions --------------------------------------------------------------------------------------------


def test_a_deprecated_function_does_what_it_did_and_names_release_and_replacement() -> None:
    @deprecated(**TIMES)
    def old(a: int, *, b: int = 2) -> int:
        """Add."""
        return a + b

    expected = r"old\(\) is deprecated since 0\.2 and goes in release 0\.4; use new\(\)$"
    with pytest.warns(FutureWarning, match=expected) as caught:
        assert old(1, b=5) == 6
    assert caught[0].filename == __file__
    assert len(caught) == 1
    assert (old.__name__, old.__doc__) == ("old", "Add.")
    assert list(inspect.signature(old).parameters) == ["a", "b"]


def test_a_class_warns_when_it_is_made() -> None:
    class Old:
        @deprecated(**TIMES)
        def __init__(self) -> None:
            self.made = True

    with pytest.warns(FutureWarning, match=r"Old\(\) is deprecated"):
        assert Old().made


def test_importing_and_decorating_warn_of_nothing() -> None:
    deprecated(**TIMES)(lambda: None)
    assert [entry.removal for entry in declared()] == ["0.4"]


# --- arguments --------------------------------------------------------------------------------------------


def test_a_deprecated_argument_warns_only_where_it_is_given_and_keeps_working() -> None:
    @deprecated_argument("size", **TIMES)
    def cut(image: str, *, size: int = 3) -> tuple[str, int]:
        return image, size

    assert cut("a") == ("a", 3)
    with pytest.warns(
        FutureWarning, match=r"argument 'size' of .*cut\(\) is deprecated since 0\.2"
    ) as caught:
        assert cut("a", size=5) == ("a", 5)
    assert caught[0].filename == __file__


def test_a_renamed_argument_arrives_under_its_new_name() -> None:
    @deprecated_argument("size", renamed_to="tile", since="0.2", removal="0.4", instead="tile")
    def cut(*, tile: int = 3) -> int:
        return tile

    assert cut(tile=4) == 4
    with pytest.warns(FutureWarning, match="use tile"):
        assert cut(size=5) == 5
    with (
        pytest.warns(FutureWarning, match="use tile"),
        pytest.raises(InputError, match="both 'size' and 'tile'"),
    ):
        cut(size=5, tile=4)


@pytest.mark.parametrize(
    ("name", "renamed_to"), [("a", None), ("missing", None), ("a", "b"), ("old", "missing")]
)
def test_a_declaration_that_does_not_fit_the_function_is_refused(name: str, renamed_to: str | None) -> None:
    def function(a: int, *, b: int) -> None: ...

    with pytest.raises(InputError, match="function"):
        deprecated_argument(name, renamed_to=renamed_to, **TIMES)(function)
    assert declared() == ()


# --- the policy -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("since", "removal"), [("0.2", "0.3"), ("0.2.1", "1.0"), ("1.3", "2.0"), ("1.9", "3.0")]
)
def test_enough_time_is_given(since: str, removal: str) -> None:
    assert Deprecation("x", since, removal, "y").removal == removal


@pytest.mark.parametrize(
    ("since", "removal", "kind"),
    [
        ("0.2", "0.2", "minor"),
        ("0.2", "0.2.5", "minor"),
        ("0.3", "0.2", "minor"),
        ("1.0", "1.9", "major"),
        ("2.0", "1.0", "major"),
    ],
)
def test_a_removal_too_soon_is_refused(since: str, removal: str, kind: str) -> None:
    with pytest.raises(InputError, match=f"next {kind} release"):
        Deprecation("x", since, removal, "y")


@pytest.mark.parametrize("version", ["", "2", "next", "v1.0", "1.", ".1"])
def test_what_is_no_version_is_refused(version: str) -> None:
    with pytest.raises(InputError, match="version"):
        Deprecation("x", "0.1", version, "y")
