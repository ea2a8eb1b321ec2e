"""Settings: one field declares each, with its check, its help and the values that tuning tries.

The declaration is all that the checks, JSON and TOML, settings files, `Segmenter.with_settings`, the flags of the
command line, the search of `tune` and the settings page of the documentation need.
"""

from __future__ import annotations

import json
import math
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields, replace
from numbers import Real
from typing import Any, ClassVar, NamedTuple, Self

from pixel_embedded_affinity.errors import InputError
from pixel_embedded_affinity.io.readers import calibration

_DECLARED = "setting"
_DECIMAL_COMMA = re.compile(r"\d+,\d+\s*[^\W\d]*")


class Ambiguous(ValueError):
    """A text of the command line that can be read in several ways; its message says how to write each."""


@dataclass(frozen=True)
class Check:
    """What a value must be, in words and as functions.

    Attributes
    ----------
    what : str
        Completes "NAME must be ...".
    convert : callable
        Takes the value and its name; returns the value as it is kept, or raises `TypeError` if it is not valid.
    parse : callable
        Turns the text of a command-line flag into a value for `convert`; raises `ValueError` if it cannot.
    advice : str
        What to do instead, at the end of a message.
    read : callable, optional
        Replaces `convert` for values from JSON or TOML.
    part : type, optional
        The class that declares the settings within the value.
    """

    what: str
    convert: Callable[[Any, str], Any]
    parse: Callable[[str], Any] = str
    advice: str = ""
    read: Callable[[Any, str], Any] | None = None
    part: Any = None

    def __call__(self, value: Any, name: str, *, stored: bool = False) -> Any:
        """Return the value as it is kept; `stored` if it comes from JSON or TOML.

        Raises
        ------
        InputError
            Naming the setting, what it must be, and the value.
        """
        try:
            return (self.read if stored and self.read else self.convert)(value, name)
        except TypeError:
            advice = f"; {self.advice}" if self.advice else ""
            raise InputError(f"{name} must be {self.what}, got {value!r}{advice}") from None


def integer(
    least: int | None = None, most: int | None = None, *, multiple: int = 1, advice: str = ""
) -> Check:
    """Integers of Python, NumPy or torch within bounds; no floats and no booleans."""

    def convert(value: Any, name: str) -> int:
        number = as_integer(value)
        _require(_within(number, least, most) and number % multiple == 0)
        return number

    what = f"a positive multiple of {multiple}" if multiple > 1 else f"an integer{_bounds(least, most)}"
    return Check(what, convert, int, advice)


def number(
    least: float | None = None,
    most: float | None = None,
    *,
    above: float | None = None,
    below: float | None = None,
    advice: str = "",
) -> Check:
    """Finite numbers within bounds, kept as floats; `above` and `below` are excluded."""

    def convert(value: Any, name: str) -> float:
        found = _as_float(value)
        _require(_within(found, least, most))
        _require((above is None or found > above) and (below is None or found < below))
        return found

    closed = (least if above is None else above, most if below is None else below)
    what = f"a {'finite ' if None in closed else ''}number{_bounds(least, most, above, below)}"
    return Check(what, convert, float, advice)


def switch() -> Check:
    """True or False."""
    return _kept_by(bool, "true or false", _is_bool)


def text(what: str = "a string") -> Check:
    """Strings; `what` calls them by what they mean."""
    return _kept_by(str, what, lambda value: isinstance(value, str))


def table() -> Check:
    """Tables of keys and values, kept as a copy; JSON on the command line."""
    return _kept_by(dict, "a table of keys and values", lambda value: isinstance(value, Mapping), json.loads)


def _kept_by(
    keep: Callable[[Any], Any], what: str, holds: Callable[[Any], bool], parse: Callable[[str], Any] = str
) -> Check:
    def convert(value: Any, name: str) -> Any:
        _require(holds(value))
        return keep(value)

    return Check(what, convert, parse)


def choice(*valid: str | int) -> Check:
    """One of some strings or integers."""

    def convert(value: Any, name: str) -> str | int:
        given = value if isinstance(value, str) else as_integer(value)
        _require(given in valid)
        return given

    return Check(f"one of {', '.join(map(repr, valid))}", convert, type(valid[0]))


def list_of(check: Check, length: int | None = None) -> Check:
    """Sequences of values that pass a check, kept as tuples; the command line takes commas, or ``none``."""

    def convert(value: Any, name: str) -> tuple[Any, ...]:
        _require(isinstance(value, Iterable) and not isinstance(value, (str, bytes, Mapping)))
        entries = tuple(value)
        _require(length in (None, len(entries)))
        return tuple(check(entry, f"each entry of {name}") for entry in entries)

    def parse(given: str) -> list[Any]:
        return [] if given == "none" else [check.parse(entry) for entry in given.split(",")]

    size = "" if length is None else f"{length} "
    return Check(f"a list of {size}values, each {check.what}", convert, parse)


def per_axis(check: Check) -> Check:
    """One value for all axes, or a list with one for each of 2 or 3 axes."""
    several = list_of(check)

    def convert(value: Any, name: str) -> Any:
        if isinstance(value, (list, tuple)) or getattr(value, "ndim", 0) == 1:
            _require(len(value) in (2, 3))
            return several(value, name)
        return check(value, name)

    def parse(given: str) -> Any:
        return several.parse(given) if "," in given else check.parse(given)

    return Check(f"{check.what}, or one per axis", convert, parse)


def without_decimal_comma(check: Check) -> Check:
    """What passes a check; on the command line, ``1,5`` is refused, which may be one number or two."""

    def parse(given: str) -> Any:
        if _DECIMAL_COMMA.fullmatch(given.strip()):
            point, two = given.replace(",", "."), given.replace(",", ".0,")
            raise Ambiguous(
                f"{given!r} may be one number or two; write {point} for one, or {two} for one per axis"
            )
        return check.parse(given)

    return replace(check, parse=parse)


def optional(check: Check) -> Check:
    """None, or what passes a check; ``none`` on the command line."""

    def convert(value: Any, name: str) -> Any:
        return None if value is None else check(value, name)

    def parse(given: str) -> Any:
        return None if given == "none" else check.parse(given)

    return Check(f"{check.what}, or none", convert, parse, check.advice)


def word_or(word: str, check: Check) -> Check:
    """A word, or what passes a check."""

    def convert(value: Any, name: str) -> Any:
        return word if isinstance(value, str) and value == word else check.convert(value, name)

    def parse(given: str) -> Any:
        return word if given == word else check.parse(given)

    return Check(f"{word!r} or {check.what}", convert, parse, check.advice)


def length() -> Check:
    """A number above 0 of pixels, or a text such as ``"12 um"``."""
    positive = number(above=0)

    def convert(value: Any, name: str) -> Any:
        return positive.convert(value, name) if not isinstance(value, str) else _checked_length(value)

    def parse(given: str) -> Any:
        return given if given[-1:].isalpha() else float(given)

    return Check("a number of pixels above 0, or a length such as '12 um'", convert, parse)


def pixel_length() -> Check:
    """A number above 0 of micrometers, or a text such as ``"0.2 mm"``, kept as a number of micrometers."""
    positive = number(above=0)

    def convert(value: Any, name: str) -> float:
        found = micrometers(_checked_length(value)) if isinstance(value, str) else value
        return float(positive.convert(found, name))

    def parse(given: str) -> float:
        return micrometers(given) if given[-1:].isalpha() else float(given)

    return Check("a number of micrometers above 0, or a length such as '0.2 mm'", convert, parse)


def micrometers(given: str) -> float:
    """Length in micrometers of a text such as ``"12 um"`` or ``"350nm"``; `ValueError` if it is none."""
    text = given.rstrip()
    size = text.rstrip("".join(filter(str.isalpha, text)))
    found = calibration.micrometers(size, text.removeprefix(size))
    if found is None:
        raise ValueError(given)
    return found


def _checked_length(given: str) -> str:
    try:
        micrometers(given)
    except ValueError:
        raise TypeError from None
    return given


def part(kind: type, declared_by: type | None = None) -> Check:
    """Instances of a class, stored as tables; `declared_by` declares the settings within, by default the class."""

    def convert(value: Any, name: str) -> Any:
        _require(isinstance(value, kind))
        return value

    def read(value: Any, name: str) -> Any:
        values = table()(value, name)
        return kind.from_dict(values) if hasattr(kind, "from_dict") else kind(**read_table(kind, values))

    return Check(f"a {kind.__name__}", convert, read=read, part=declared_by or kind)


class Declaration(NamedTuple):
    """What the field of a setting says."""

    check: Check
    help: str
    tries: tuple[Any, ...]
    inference: bool


def setting(
    default: Any, check: Check, help: str = "", *, tries: Iterable[Any] = (), inference: bool = False
) -> Any:
    """Declare a setting: the field of a dataclass that derives from `Settings`.

    Parameters
    ----------
    default : object
        Its default; `dataclasses.MISSING` for none. A dictionary is copied, a class is called.
    check : Check
        What it must be.
    help : str
        A sentence for the command line and the page of settings; the docstring of the class may say more.
    tries : iterable
        Values that `tune` tries, a usual one first.
    inference : bool
        In a `ModelConfig`: whether the caller may change it without training anew.
    """
    metadata = {_DECLARED: Declaration(check, help, tuple(tries), inference)}
    if isinstance(default, (dict, type)):
        return field(
            default_factory=default.copy if isinstance(default, dict) else default, metadata=metadata
        )
    return field(default=default, metadata=metadata)


class Settings:
    """Base class of frozen dataclasses whose fields `setting` declares; the constructor checks all values.

    Subclasses name themselves for messages: ``section="schedule"`` gives ``schedule.steps must be ...``. Without a
    section, `title` says what holds the keys, such as ``"the recipe"``.
    """

    section: ClassVar[str] = ""
    title: ClassVar[str] = ""

    def __init_subclass__(cls, *, section: str | None = None, title: str = "", **more: Any) -> None:
        super().__init_subclass__(**more)
        if section is not None:
            cls.section, cls.title = section, title or f"[{section}]"

    def __post_init__(self) -> None:
        for name, declared in declarations(type(self)).items():
            value = declared.check(getattr(self, name), _joined(self.section, name))
            object.__setattr__(self, name, value)
        self._check_together()

    def _check_together(self) -> None:
        """Refuse values that do not fit each other."""

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as nested dictionaries that JSON can hold; `from_dict` is the inverse."""
        return {entry.name: plain(getattr(self, entry.name)) for entry in fields(self)}  # type: ignore[arg-type]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build the settings from what `to_dict` gives, or JSON or TOML; an absent key means its default.

        Raises
        ------
        InputError
            If a key is unknown or missing, or a value is not valid.
        """
        read = read_table(cls, table()(values, cls.title))
        missing = [name for name in _required(cls) if name not in read]
        if missing:
            raise InputError(f"{cls.title} has no {missing}; expected at least these keys")
        return cls(**read)

    def with_values(self, values: Mapping[str, Any]) -> Self:
        """Return a copy with other values; a dotted key, such as ``"postprocess.min_size"``, reaches into a part.

        Raises
        ------
        InputError
            If a key is unknown, or a value is not valid.
        """
        changes = {key: value for key, value in values.items() if "." not in key}
        heads = {key.partition(".")[0] for key in values}
        refuse_unknown(heads, declarations(type(self)), self.title)
        for head in dict.fromkeys(key.partition(".")[0] for key in values if "." in key):
            within = {
                key[len(head) + 1 :]: value for key, value in values.items() if key.startswith(f"{head}.")
            }
            changes[head] = _changed_within(changes.get(head, getattr(self, head)), within, head)
        return replace(self, **changes)  # type: ignore[type-var]


def declarations(kind: Any) -> dict[str, Declaration]:
    """The declarations of a class by the names of their fields, in order."""
    return {entry.name: entry.metadata[_DECLARED] for entry in fields(kind) if _DECLARED in entry.metadata}


class Leaf(NamedTuple):
    """A setting that holds no further settings.

    Attributes
    ----------
    key : str
        Such as ``"postprocess.min_size"``.
    default : object
        Its default; `dataclasses.MISSING` for none.
    declared : Declaration
        What its field says.
    """

    key: str
    default: Any
    declared: Declaration

    @property
    def flag(self) -> str:
        """Its flag on the command line, such as ``--min-size``."""
        return f"--{self.key.rpartition('.')[2].replace('_', '-')}"


def leaves(kind: Any, section: str = "", *, inference: bool = False) -> Iterator[Leaf]:
    """All settings of a class and of its parts; with `inference`, only inference settings."""
    for entry in fields(kind):
        declared = entry.metadata.get(_DECLARED)
        if declared is None or (inference and not declared.inference):
            continue
        key = _joined(section, entry.name)
        if declared.check.part is not None:
            yield from leaves(declared.check.part, key)
        else:
            made = entry.default_factory
            yield Leaf(key, entry.default if made is MISSING else made(), declared)


def read_table(kind: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """Read values of a dataclass's fields from JSON or TOML; the declaration of a field, if any, checks its value.

    Raises
    ------
    InputError
        If a key is unknown, or a value is not valid.
    """
    title = getattr(kind, "title", f"the {kind.__name__}")
    refuse_unknown(values, [entry.name for entry in fields(kind)], title)
    declared, section = declarations(kind), getattr(kind, "section", "")
    return {
        name: declared[name].check(value, _joined(section, name), stored=True) if name in declared else value
        for name, value in values.items()
    }


def refuse_unknown(keys: Iterable[str], known: Iterable[str], title: str) -> None:
    """Refuse unknown keys.

    Raises
    ------
    InputError
        Naming the unknown keys and the valid ones.
    """
    unknown = sorted(str(key) for key in set(keys) - set(known))
    if unknown:
        raise InputError(f"unknown keys {unknown} in {title}; the valid ones are {list(known)}")


def plain(value: Any) -> Any:
    """Return a value as JSON has it: parts as dictionaries, tuples as lists; nothing is shared with it."""
    if hasattr(value, "to_dict"):
        return value.to_dict()
    if hasattr(value, "__dataclass_fields__"):
        return {entry.name: plain(getattr(value, entry.name)) for entry in fields(value)}
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    return [plain(entry) for entry in value] if isinstance(value, (tuple, list)) else value


def as_integer(value: Any) -> int:
    """Return an integer of Python, NumPy or torch as one of Python; raise `TypeError` for all else, also booleans."""
    _require(not _is_bool(value))
    return operator.index(value)


def _as_float(value: Any) -> float:
    _require(isinstance(value, Real) and not _is_bool(value))
    try:
        found = float(value)
    except OverflowError:  # an integer of hundreds of digits
        found = math.inf
    _require(math.isfinite(found))
    return found


def _is_bool(value: Any) -> bool:
    """Compare by name: NumPy has a bool of its own, which some of its releases accept as an index."""
    return type(value).__name__ == "bool"


def _require(holds: bool) -> None:
    if not holds:
        raise TypeError


def _within(value: float, least: float | None, most: float | None) -> bool:
    return (least is None or value >= least) and (most is None or value <= most)


def _bounds(
    least: float | None, most: float | None, above: float | None = None, below: float | None = None
) -> str:
    if least is not None and most is not None:
        return f" from {least} to {most}"
    phrases = {"of at least": least, "of at most": most, "above": above, "below": below}
    given = [f"{words} {bound}" for words, bound in phrases.items() if bound is not None]
    return f" {' and '.join(given)}" if given else ""


def _joined(section: str, name: str) -> str:
    return f"{section}.{name}" if section else name


def _required(kind: Any) -> list[str]:
    return [entry.name for entry in fields(kind) if entry.default is entry.default_factory is MISSING]


def _changed_within(value: Any, values: Mapping[str, Any], name: str) -> Any:
    if isinstance(value, Mapping):
        return {**value, **values}
    if not hasattr(value, "with_values"):
        raise InputError(f"{name} has no keys {sorted(values)} within; give {name} itself")
    return value.with_values(values)
