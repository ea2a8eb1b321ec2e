"""Where the file of a model is: in the cache, in the package, at its addresses, or on a mirror.

`plan` only decides in which order to try these places; `resolve` and `download` try them. A file is used only if it
has the registry's SHA-256, wherever it comes from. Three environment variables change this:

``PEA_CACHE_DIR``
    Folder of the cache. Default: the platform's folder for caches.
``PEA_OFFLINE``
    ``1`` forbids any network access.
``PEA_WEIGHTS_URL``
    Your own mirror: a folder of checkpoint files, as an ``http(s)://`` or ``file://`` address.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, urlsplit, urlunsplit
from urllib.request import url2pathname

from pixel_embedded_affinity.errors import DownloadError, InputError, readable
from pixel_embedded_affinity.io.atomic import atomic_file
from pixel_embedded_affinity.io.digest import sha256_of
from pixel_embedded_affinity.models.registry import REGISTRY_PATH, ModelEntry, get_entry

_logger = logging.getLogger(__name__)

#: Seconds that a server may stay silent before the next address is tried.
DEFAULT_TIMEOUT = 30.0

# Seconds to wait for another process that fetches the same file: longer than any download takes.
_LOCK_TIMEOUT = 1800.0

_CHUNK_BYTES = 1 << 18
_MISSING = "is not there"
_SWITCHES = {
    **dict.fromkeys(("", "0", "false", "no", "off"), False),
    **dict.fromkeys(("1", "true", "yes", "on"), True),
}


@dataclass(frozen=True)
class Plan:
    """Places of a model's file, in the order in which they are tried.

    Parameters
    ----------
    target : Path
        The model's file in the cache, where a download is kept.
    local : tuple of Path
        Files that may already be there.
    urls : tuple of str
        Addresses to fetch from when no local file is intact.
    forbidden : tuple of str
        Addresses left out because offline mode forbids them.
    """

    target: Path
    local: tuple[Path, ...]
    urls: tuple[str, ...]
    forbidden: tuple[str, ...]


def plan(entry: ModelEntry, *, cache: Path, bundled: Path, mirror: str | None, offline: bool) -> Plan:
    """Decide where to look for the file of a model, without touching disk or network.

    The order is: cache, bundled file, the addresses of the registry, the mirror. A file in the cache is named after
    model, version and hash, so that two releases of the library with different weights can share a cache.

    Parameters
    ----------
    entry : ModelEntry
        The model.
    cache : Path
        Folder of the cache.
    bundled : Path
        Folder of the weights that ship with the registry.
    mirror : str or None
        ``http``, ``https`` or ``file`` address of a folder; the name of the file is appended.
    offline : bool
        Whether network addresses are left out. A ``file`` mirror is no network address.

    Returns
    -------
    Plan

    Raises
    ------
    InputError
        If the mirror is no ``http``, ``https`` or ``file`` address.
    """
    target = cache / f"{entry.name}-{entry.version}-{entry.sha256[:8]}.safetensors"
    urls = entry.urls if mirror is None else (*entry.urls, _mirror_url(mirror, entry.file))
    forbidden = tuple(url for url in urls if offline and urlsplit(url).scheme != "file")
    allowed = tuple(url for url in urls if url not in forbidden)
    return Plan(target=target, local=(target, bundled / entry.file), urls=allowed, forbidden=forbidden)


def resolve(
    name: str, *, offline: bool | None = None, registry: Path | None = None, timeout: float = DEFAULT_TIMEOUT
) -> Path:
    """Path of the verified file of a model, fetched into the cache if it is nowhere on this machine.

    Several processes may ask at once, and one may be killed: a file gets its name only when it is complete. A cache
    that already holds the file is only read. The log reports a damaged file; the cache keeps it until an intact one
    replaces it.

    Parameters
    ----------
    name : str
        Name of the model, as in `list_models`.
    offline : bool, optional
        Whether to leave the network alone. Default: what the environment variable ``PEA_OFFLINE`` says.
    registry : Path, optional
        Registry file; a folder ``bundled`` next to it may hold its files. Default: the library's own.
    timeout : float, optional
        Seconds that a server may stay silent before the next address is tried.

    Returns
    -------
    Path

    Raises
    ------
    UnknownModelError
        If the registry does not hold the name.
    DownloadError
        If no place gave an intact file. The message says what was tried, and which file to put where by hand.
    InputError
        If an environment variable or the registry is ill-formed.
    """
    entry = get_entry(name, registry)
    steps = _plan_here(entry, offline, registry)
    return _first_intact(entry, steps.local) or _fetch_into_cache(entry, steps, timeout)


def download(
    name: str,
    to: Path | None = None,
    *,
    offline: bool | None = None,
    registry: Path | None = None,
    timeout: float = DEFAULT_TIMEOUT,
) -> Path:
    """Get the file of a model now, for a machine that will have no network later.

    Parameters
    ----------
    name : str
        Name of the model, as in `list_models`.
    to : Path, optional
        Folder to put the file into under its registered name; made if missing. A folder filled like this can
        serve as a mirror. Default: the cache, as `resolve` does.
    offline, registry, timeout
        As in `resolve`.

    Returns
    -------
    Path
        The verified file.

    Raises
    ------
    DownloadError
        As in `resolve`; also if another file of that name is in the folder, which is never overwritten.
    UnknownModelError, InputError
        As in `resolve`.
    """
    if to is None:
        return resolve(name, offline=offline, registry=registry, timeout=timeout)
    entry = get_entry(name, registry)
    target = Path(to) / entry.file
    fault = _fault(entry, target)
    if fault is None:
        return target
    if fault != _MISSING:
        raise DownloadError(f"{target} {fault}: not {_title(entry)}; move it away first")
    steps = _plan_here(entry, offline, registry)
    source = _first_intact(entry, steps.local)
    urls = steps.urls if source is None else (source.absolute().as_uri(),)
    _check_sources(entry, steps, urls)
    with _writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        return _fetch(entry, steps, urls, target, timeout)


def cache_folder() -> Path:
    """Folder of the cache: the one that ``PEA_CACHE_DIR`` names, else the platform's folder for caches.

    Returns
    -------
    Path
        Absolute; it need not exist.
    """
    chosen = os.environ.get("PEA_CACHE_DIR")
    if chosen:
        return Path(os.path.expanduser(chosen)).absolute()
    import pooch

    return Path(pooch.os_cache("pixel_embedded_affinity"))


def _plan_here(entry: ModelEntry, offline: bool | None, registry: Path | None) -> Plan:
    """Plan for this machine, from the environment variables and the registry's folder."""
    return plan(
        entry,
        cache=cache_folder(),
        bundled=Path(REGISTRY_PATH if registry is None else registry).with_name("bundled"),
        mirror=os.environ.get("PEA_WEIGHTS_URL") or None,
        offline=_offline_by_environment() if offline is None else offline,
    )


def _offline_by_environment() -> bool:
    value = os.environ.get("PEA_OFFLINE", "")
    if value.lower() not in _SWITCHES:
        raise InputError(f"PEA_OFFLINE is {value!r}, expected 1 (no network) or 0")
    return _SWITCHES[value.lower()]


def _mirror_url(mirror: str, file: str) -> str:
    shown = mirror.rpartition("@")[2]  # without credentials
    try:
        parts = urlsplit(mirror)
    except ValueError as error:
        raise InputError(f"PEA_WEIGHTS_URL is {shown!r}: {error}") from error
    is_remote = parts.scheme in ("http", "https") and bool(parts.hostname)
    is_folder = parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path.startswith("/")
    if not (is_remote or is_folder):
        raise InputError(f"PEA_WEIGHTS_URL is {shown!r}, expected http(s)://HOST/FOLDER or file:///FOLDER")
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{quote(file)}", fragment=""))


def _fault(entry: ModelEntry, path: Path) -> str | None:
    """Say why a file is not the entry's file; None if it is."""
    try:
        size = path.stat().st_size
        if size != entry.size:
            return f"has {size} bytes, expected {entry.size}"
        digest = sha256_of(path)
    except (FileNotFoundError, NotADirectoryError):
        return _MISSING
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return None if digest == entry.sha256 else f"has SHA-256 {digest}, expected {entry.sha256}"


def _chunks(file: BufferedReader) -> Iterator[bytes]:
    return iter(lambda: file.read(_CHUNK_BYTES), b"")


def _first_intact(entry: ModelEntry, paths: tuple[Path, ...]) -> Path | None:
    for path in paths:
        fault = _fault(entry, path)
        if fault is None:
            return path
        if fault != _MISSING:
            _logger.warning("%s %s: not used for %s", path, fault, _title(entry))
    return None


def _fetch_into_cache(entry: ModelEntry, steps: Plan, timeout: float) -> Path:
    import filelock

    target = steps.target
    _check_sources(entry, steps, steps.urls)
    with _writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(target.with_name(f".{target.name}.lock"), timeout=_LOCK_TIMEOUT):
            if _fault(entry, target) is None:  # another process was faster
                return target
            _remove_leftovers(target)
            return _fetch(entry, steps, steps.urls, target, timeout)


def _check_sources(entry: ModelEntry, steps: Plan, urls: tuple[str, ...]) -> None:
    """Refuse, before touching the disk, if there is nowhere to fetch from."""
    if not urls:
        raise DownloadError(_failure(entry, steps, []))


def _remove_leftovers(target: Path) -> None:
    """Remove what killed downloads left behind; the lock guarantees that no other download is running."""
    for leftover in target.parent.glob(f".{target.name}.*.part"):
        leftover.unlink(missing_ok=True)


def _fetch(entry: ModelEntry, steps: Plan, urls: tuple[str, ...], target: Path, timeout: float) -> Path:
    failures = []
    for url in urls:
        _logger.info("fetching %s from %s", _title(entry), _shown(url))
        try:
            with atomic_file(target) as file:
                receiver = _Receiver(entry, file, target)
                _transfer(url, receiver, timeout)
                receiver.check()
            return target
        except _SourceError as error:
            failures.append(f"{_shown(url)}: {error}")
            _logger.warning("could not fetch %s from %s: %s", _title(entry), _shown(url), error)
    raise DownloadError(_failure(entry, steps, failures))


class _SourceError(Exception):
    """An address did not give the file."""


class _Receiver:
    """File-like object that writes a download to disk, hashes it on the way, and stops if it is too long."""

    def __init__(self, entry: ModelEntry, file: BinaryIO, target: Path) -> None:
        self._entry = entry
        self._file = file
        self._target = target
        self._size = 0
        self._digest = hashlib.sha256()

    def write(self, chunk: bytes) -> None:
        self._size += len(chunk)
        if self._size > self._entry.size:
            raise _SourceError(f"gave more than the expected {self._entry.size} bytes")
        self._digest.update(chunk)
        with _writing(self._target):
            self._file.write(chunk)

    def flush(self) -> None:
        """Do nothing: the file is flushed when it is complete."""

    def check(self) -> None:
        if self._size < self._entry.size:
            raise _SourceError(f"gave {self._size} bytes, expected {self._entry.size}")
        digest = self._digest.hexdigest()
        if digest != self._entry.sha256:
            raise _SourceError(f"gave wrong bytes, SHA-256 {digest}")


def _transfer(url: str, receiver: _Receiver, timeout: float) -> None:
    try:
        if urlsplit(url).scheme == "file":
            _copy(Path(url2pathname(urlsplit(url).path)), receiver)
        else:
            _download(url, receiver, timeout)
    except DownloadError:
        raise
    except (OSError, ValueError) as error:
        raise _SourceError(_reason(error)) from error


def _copy(source: Path, receiver: _Receiver) -> None:
    with source.open("rb") as file:
        for chunk in _chunks(file):
            receiver.write(chunk)


def _download(url: str, receiver: _Receiver, timeout: float) -> None:
    import pooch

    # Proxies, certificates and ~/.netrc are left to requests, which reads them from the environment.
    downloader = pooch.HTTPDownloader(chunk_size=_CHUNK_BYTES, timeout=timeout)
    downloader(url, receiver, None)


def _reason(error: BaseException) -> str:
    """Say in one line why an address failed: the HTTP status, or the innermost error."""
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", 0)
    if response is not None and status >= 400:
        return readable(f"HTTP {status} {response.reason}"[:200])
    # urllib3 1 sets no cause, but a reason.
    wrapped = [error.__cause__, *error.args, getattr(error, "reason", None)]
    inner = next((item for item in wrapped if isinstance(item, BaseException)), None)
    return readable(f"{type(error).__name__}: {error}"[:200]) if inner is None else _reason(inner)


@contextmanager
def _writing(target: Path) -> Iterator[None]:
    """Turn a failure of the disk into a `DownloadError`."""
    try:
        yield
    except DownloadError:
        raise
    except OSError as error:
        raise DownloadError(
            f"cannot write {target} ({error}); make room, or choose another folder (PEA_CACHE_DIR)"
        ) from error


def _failure(entry: ModelEntry, steps: Plan, failures: list[str]) -> str:
    if steps.forbidden:
        failures = [*failures, f"offline mode forbids {', '.join(map(_shown, steps.forbidden))}"]
    tried = "; ".join(failures) or "no address is registered and PEA_WEIGHTS_URL is not set"
    return (
        f"cannot get {_title(entry)} ({entry.size} bytes): {tried}. By hand: put {entry.file}, SHA-256 "
        f"{entry.sha256}, at {steps.target} or into a folder that PEA_WEIGHTS_URL names"
    )


def _title(entry: ModelEntry) -> str:
    return f"model {entry.name!r} {entry.version}"


def _shown(url: str) -> str:
    """Address without credentials, query and fragment, which may hold secrets."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
