"""Weights are found, fetched over real HTTP from this machine, verified, and never left half written."""

from __future__ import annotations

import hashlib
import json
import logging
import multiprocessing
import os
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pixel_embedded_affinity.errors import DownloadError, InputError, UnknownModelError
from pixel_embedded_affinity.models.fetch import Plan, cache_folder, download, plan, resolve
from pixel_embedded_affinity.models.registry import ModelEntry, get_entry

PAYLOAD = bytes(range(256)) * 400
FILE = "nuclei-1.0.safetensors"
TIMEOUT = 0.4

Behavior = Callable[[BaseHTTPRequestHandler], None]


class Server(ThreadingHTTPServer):
    """HTTP server on this machine whose paths behave as told; it keeps a list of what was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.behaviors: dict[str, Behavior] = {}
        self.requests: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.asked = threading.Event()
        self.released = threading.Event()

    def url(self, path: str, behavior: Behavior) -> str:
        self.behaviors[path] = behavior
        return f"{self.root}{path}"

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are part of the tests."""


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.requests.append(self.path)
        self.server.headers.append(dict(self.headers))
        self.server.asked.set()
        behavior = self.server.behaviors.get(self.path, partial(send_status, status=404))
        behavior(self)

    def log_message(self, format: str, *args: Any) -> None:
        """Tests look at `Server.requests` instead."""


def send(handler: BaseHTTPRequestHandler, body: bytes = PAYLOAD, length: str | None = None) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(body)) if length is None else length)
    handler.end_headers()
    handler.wfile.write(body)


def send_without_length(handler: BaseHTTPRequestHandler, body: bytes) -> None:
    handler.send_response(200)
    handler.end_headers()
    handler.wfile.write(body)


def send_status(handler: BaseHTTPRequestHandler, status: int) -> None:
    handler.send_response(status)
    handler.send_header("Content-Length", "0")
    handler.end_headers()


def send_redirect(handler: BaseHTTPRequestHandler, to: str) -> None:
    handler.send_response(302)
    handler.send_header("Location", to)
    handler.send_header("Content-Length", "0")
    handler.end_headers()


def send_half_then(handler: BaseHTTPRequestHandler, then: Callable[[Server], object]) -> None:
    server = handler.server
    assert isinstance(server, Server)
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(PAYLOAD)))
    handler.end_headers()
    handler.wfile.write(PAYLOAD[: len(PAYLOAD) // 2])
    handler.wfile.flush()
    then(server)


def send_half_and_stall(handler: BaseHTTPRequestHandler) -> None:
    send_half_then(handler, lambda server: server.released.wait(20))


def stall(handler: BaseHTTPRequestHandler) -> None:
    assert isinstance(handler.server, Server)
    handler.server.released.wait(20)


def send_when_released(handler: BaseHTTPRequestHandler) -> None:
    stall(handler)
    send(handler)


def hang_up(handler: BaseHTTPRequestHandler) -> None:
    handler.connection.shutdown(socket.SHUT_RDWR)


def reset_in_the_middle(handler: BaseHTTPRequestHandler) -> None:
    linger_zero = b"\x01\x00\x00\x00\x00\x00\x00\x00"
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_zero)
    send_half_then(handler, lambda server: handler.connection.close())


def send_garbage(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"\x00\xff no HTTP at all\r\n\r\n")


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as instance:
        thread = threading.Thread(target=partial(instance.serve_forever, poll_interval=0.01))
        thread.start()
        yield instance
        instance.released.set()
        instance.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, an environment without proxies, and no settings of the person who runs the tests."""
    for name in (
        "PEA_OFFLINE",
        "PEA_WEIGHTS_URL",
        "REQUESTS_CA_BUNDLE",
        "CURL_CA_BUNDLE",
        "ALL_PROXY",
        "HTTP_PROXY",
    ):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("PEA_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def registry(tmp_path: Path) -> Callable[..., Path]:
    def write(*urls: str, version: str = "1.0") -> Path:
        folder = tmp_path / "registry"
        folder.mkdir(exist_ok=True)
        path = folder / "registry.toml"
        path.write_text(
            f"""
            [models.nuclei]
            version = "{version}"
            file = "{FILE}"
            sha256 = "{hashlib.sha256(PAYLOAD).hexdigest()}"
            size = {len(PAYLOAD)}
            urls = {json.dumps(urls)}
            license = "CC0-1.0"
            data = "none"
            description = "Bytes for tests."
            scores = {{}}
            """
        )
        return path

    return write


def target_in(cache: Path, version: str = "1.0") -> Path:
    return cache / f"nuclei-{version}-{hashlib.sha256(PAYLOAD).hexdigest()[:8]}.safetensors"


def weights_in(folder: Path) -> list[Path]:
    """Everything in the cache but lock files: finished files, and unfinished ones if any was left."""
    return sorted(path for path in folder.glob("**/*") if path.suffix != ".lock") if folder.exists() else []


def entry_with(*urls: str) -> ModelEntry:
    digest = hashlib.sha256(PAYLOAD).hexdigest()
    return ModelEntry(
        "nuclei", "1.0", FILE, digest, len(PAYLOAD), urls, "CC0-1.0", "none", "Bytes for tests.", {}
    )


# The plan


def plan_with(*urls: str, mirror: str | None = None, offline: bool = False) -> Plan:
    return plan(entry_with(*urls), cache=Path("c"), bundled=Path("b"), mirror=mirror, offline=offline)


def test_the_plan_asks_cache_then_bundled_then_addresses_then_mirror() -> None:
    steps = plan_with("https://a/x", "http://b/y", mirror="https://mirror/folder")

    assert steps.target == target_in(Path("c"))
    assert steps.local == (target_in(Path("c")), Path("b") / FILE)
    assert steps.urls == ("https://a/x", "http://b/y", f"https://mirror/folder/{FILE}")
    assert steps.forbidden == ()


def test_the_plan_leaves_out_the_network_when_offline_but_not_a_file_mirror() -> None:
    steps = plan_with("https://a/x", mirror="file:///shared/weights", offline=True)

    assert steps.urls == (f"file:///shared/weights/{FILE}",)
    assert steps.forbidden == ("https://a/x",)
    assert plan_with("https://a/x", mirror="http://m", offline=True).urls == ()


@pytest.mark.parametrize(
    ("mirror", "url"),
    [
        ("http://host", f"http://host/{FILE}"),
        ("http://host/", f"http://host/{FILE}"),
        ("https://host:8443/a/b//", f"https://host:8443/a/b/{FILE}"),
        ("https://host/a?token=1#part", f"https://host/a/{FILE}?token=1"),
        ("file:///a%20b", f"file:///a%20b/{FILE}"),
        ("file://localhost/a/", f"file://localhost/a/{FILE}"),
    ],
)
def test_the_file_name_is_appended_to_the_folder_of_the_mirror(mirror: str, url: str) -> None:
    assert plan_with(mirror=mirror).urls == (url,)


@pytest.mark.parametrize(
    "mirror",
    [
        "/shared/weights",
        "weights",
        "ftp://host/x",
        "http://",
        "file://",
        "file://host/x",
        "file:x",
        "http://[1",
    ],
)
def test_a_mirror_that_is_no_folder_address_is_refused(mirror: str) -> None:
    with pytest.raises(InputError, match="PEA_WEIGHTS_URL is"):
        plan_with(mirror=mirror)


def test_a_refused_mirror_does_not_show_its_password() -> None:
    with pytest.raises(InputError) as caught:
        plan_with(mirror="ftp://user:secret@host/x")
    assert "secret" not in str(caught.value)
    assert "host/x" in str(caught.value)


@given(
    urls=st.lists(st.sampled_from(["http://a/1", "https://b/2", "http://c/3"]), unique=True),
    mirror=st.sampled_from([None, "http://m", "file:///m"]),
    offline=st.booleans(),
)
def test_every_address_is_either_tried_or_said_to_be_forbidden(
    urls: list[str], mirror: str | None, offline: bool
) -> None:
    steps = plan_with(*urls, mirror=mirror, offline=offline)

    assert len(steps.urls) + len(steps.forbidden) == len(urls) + (mirror is not None)
    assert not (steps.forbidden and not offline)
    assert not (offline and any(url.startswith("http") for url in steps.urls))


# Downloads that succeed


def test_a_download_lands_in_the_cache_and_is_not_repeated(
    server: Server, cache: Path, registry: Callable[..., Path]
) -> None:
    source = registry(server.url("/weights", send))

    path = resolve("nuclei", registry=source)
    again = resolve("nuclei", registry=source)

    assert path == again == target_in(cache)
    assert path.read_bytes() == PAYLOAD
    assert weights_in(cache) == [path]
    assert server.requests == ["/weights"]


def test_a_redirect_is_followed(server: Server, registry: Callable[..., Path]) -> None:
    server.url("/real", send)

    path = resolve("nuclei", registry=registry(server.url("/moved", partial(send_redirect, to="/real"))))

    assert path.read_bytes() == PAYLOAD
    assert server.requests == ["/moved", "/real"]


def test_a_server_that_tells_no_length_is_fine(server: Server, registry: Callable[..., Path]) -> None:
    source = registry(server.url("/weights", partial(send_without_length, body=PAYLOAD)))

    assert resolve("nuclei", registry=source).read_bytes() == PAYLOAD


def test_versions_do_not_meet_in_the_cache(
    server: Server, cache: Path, registry: Callable[..., Path]
) -> None:
    url = server.url("/weights", send)

    paths = [resolve("nuclei", registry=registry(url, version=version)) for version in ("1.0", "1.1")]

    assert paths == [target_in(cache, "1.0"), target_in(cache, "1.1")]


@pytest.mark.skipif(os.name != "posix", reason="POSIX file modes")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_the_mode_of_a_cached_file_follows_the_umask(
    server: Server, registry: Callable[..., Path], umask: int, mode: int
) -> None:
    source = registry(server.url("/weights", send))
    previous = os.umask(umask)
    try:
        path = resolve("nuclei", registry=source)
    finally:
        os.umask(previous)

    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_nothing_is_printed(
    server: Server, registry: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    resolve("nuclei", registry=registry(f"{server.root}/lost", server.url("/weights", send)))

    assert capfd.readouterr() == ("", "")


def test_a_download_is_logged(
    server: Server, registry: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    url = server.url("/weights", send)
    with caplog.at_level(logging.INFO, "pixel_embedded_affinity"):
        resolve("nuclei", registry=registry(url))

    assert caplog.messages == [f"fetching model 'nuclei' 1.0 from {url}"]


# Downloads that fail

FAULTS: dict[str, tuple[Behavior, str]] = {
    "not found": (partial(send_status, status=404), "HTTP 404 Not Found"),
    "server error": (partial(send_status, status=500), "HTTP 500 Internal Server Error"),
    "forbidden": (partial(send_status, status=403), "HTTP 403 Forbidden"),
    "truncated": (partial(send, body=PAYLOAD[:1000], length=str(len(PAYLOAD))), "IncompleteRead|1000 bytes"),
    "short": (partial(send, body=PAYLOAD[:-1]), f"gave {len(PAYLOAD) - 1} bytes, expected {len(PAYLOAD)}"),
    "empty": (partial(send, body=b""), "gave 0 bytes"),
    "no length, short": (partial(send_without_length, body=PAYLOAD[:5]), "gave 5 bytes"),
    "long": (partial(send, body=PAYLOAD + b"!"), "gave more than the expected"),
    "wrong bytes": (partial(send, body=PAYLOAD[::-1]), "gave wrong bytes, SHA-256 [0-9a-f]{64}"),
    "hung up": (hang_up, "RemoteDisconnected|ConnectionResetError"),
    "reset": (reset_in_the_middle, "IncompleteRead|ConnectionResetError"),
    "no HTTP": (send_garbage, "BadStatusLine"),
    "bad length": (partial(send, length="many"), "ValueError|IncompleteRead|InvalidHeader"),
    "silent": (stall, "TimeoutError: (.*Read )?timed out"),  # the longer text comes from urllib3 1
    "stalled": (send_half_and_stall, "TimeoutError: (.*Read )?timed out"),
    "endless redirect": (partial(send_redirect, to="/bad"), "TooManyRedirects"),
    "redirect to a file": (partial(send_redirect, to="file:///etc/hostname"), "InvalidSchema"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_failed_download_says_why_and_leaves_nothing(
    server: Server, cache: Path, registry: Callable[..., Path], fault: str
) -> None:
    behavior, reason = FAULTS[fault]
    url = server.url("/bad", behavior)

    with pytest.raises(DownloadError, match=f"cannot get model 'nuclei' 1.0 .*{url}: .*({reason})") as caught:
        resolve("nuclei", registry=registry(url), timeout=TIMEOUT)

    assert weights_in(cache) == []
    assert hashlib.sha256(PAYLOAD).hexdigest() in str(caught.value)
    assert str(target_in(cache)) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("fault", FAULTS)
def test_the_next_address_is_tried(
    server: Server,
    cache: Path,
    registry: Callable[..., Path],
    caplog: pytest.LogCaptureFixture,
    fault: str,
) -> None:
    source = registry(server.url("/bad", FAULTS[fault][0]), server.url("/good", send))

    path = resolve("nuclei", registry=source, timeout=TIMEOUT)

    assert path.read_bytes() == PAYLOAD
    assert weights_in(cache) == [path]
    assert server.requests[-1] == "/good"
    assert any("could not fetch" in message and "/bad" in message for message in caplog.messages)


def test_a_closed_port_is_named(registry: Callable[..., Path]) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}/x"

    refused = "ConnectionRefusedError|NewConnectionError.* Connection refused"  # the latter of urllib3 1
    with pytest.raises(DownloadError, match=f"{url}: ({refused})"):
        resolve("nuclei", registry=registry(url))


def test_every_address_that_was_tried_is_named(server: Server, registry: Callable[..., Path]) -> None:
    source = registry(f"{server.root}/one", f"{server.root}/two")

    with pytest.raises(DownloadError, match=r"/one: HTTP 404 Not Found; .*/two: HTTP 404 Not Found\."):
        resolve("nuclei", registry=source)


def test_a_model_without_any_address_is_refused(cache: Path, registry: Callable[..., Path]) -> None:
    with pytest.raises(DownloadError, match="no address is registered and PEA_WEIGHTS_URL is not set"):
        resolve("nuclei", registry=registry())
    assert not cache.exists()


def test_an_unknown_model_is_refused_without_a_request(server: Server, registry: Callable[..., Path]) -> None:
    with pytest.raises(UnknownModelError, match="valid models: nuclei"):
        resolve("cells", registry=registry(server.url("/weights", send)))
    assert server.requests == []


def test_the_reason_is_not_taken_from_an_error_that_was_being_handled(
    server: Server, registry: Callable[..., Path]
) -> None:
    def resolve_while_handling() -> None:
        try:
            raise KeyError("unrelated")
        except KeyError:
            resolve("nuclei", registry=registry(server.url("/bad", hang_up)))

    with pytest.raises(DownloadError) as caught:
        resolve_while_handling()
    assert "unrelated" not in str(caught.value)


def test_control_characters_of_a_server_do_not_reach_the_message(
    server: Server, registry: Callable[..., Path]
) -> None:
    def send_colors(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 500 \x1b[31mred\x07\r\nContent-Length: 0\r\n\r\n")

    with pytest.raises(DownloadError, match="HTTP 500") as caught:
        resolve("nuclei", registry=registry(server.url("/bad", send_colors)))
    assert str(caught.value).isprintable()


def test_tls_verification_is_on_and_follows_the_environment(
    tmp_path: Path, registry: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    import requests

    seen = []

    def refuse(self: object, request: object, *, verify: object, **settings: object) -> None:
        seen.append(verify)
        raise requests.exceptions.SSLError("certificate verify failed")

    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", refuse)
    source = registry("https://127.0.0.1/weights")

    for bundle in (None, str(tmp_path / "ca.pem")):
        if bundle is not None:
            monkeypatch.setenv("REQUESTS_CA_BUNDLE", bundle)
        with pytest.raises(DownloadError, match="SSLError: certificate verify failed"):
            resolve("nuclei", registry=source)

    assert seen == [True, str(tmp_path / "ca.pem")]


def test_the_proxy_of_the_environment_is_used(
    server: Server, registry: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    server.url("http://weights.invalid/x", send)
    monkeypatch.setenv("http_proxy", server.root)

    path = resolve("nuclei", registry=registry("http://weights.invalid/x"))

    assert path.read_bytes() == PAYLOAD
    assert server.requests == ["http://weights.invalid/x"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    status=st.sampled_from([b"HTTP/1.1 200 OK", b"HTTP/1.0 206 X", b"HTTP/9 999", b"ICY 200", b""]),
    headers=st.lists(
        st.sampled_from(
            [
                b"Content-Length: 5",
                b"Content-Length: -1",
                b"Content-Length: 1e3",
                b"Content-Length: 5, 6",
                b"Transfer-Encoding: chunked",
                b"Content-Encoding: gzip",
                b"Content-Encoding: br, deflate",
                b"Location: //[",
                b"no colon",
                b"X: " + b"y" * 70_000,
            ]
        ),
        max_size=3,
    ),
    body=st.one_of(
        st.binary(max_size=40), st.sampled_from([b"5\r\nabcde\r\n0\r\n\r\n", b"-1\r\n", b"zz\r\n"])
    ),
)
def test_whatever_a_server_says_only_our_error_comes_out(
    server: Server,
    cache: Path,
    registry: Callable[..., Path],
    status: bytes,
    headers: list[bytes],
    body: bytes,
) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"\r\n".join([status, *headers, b"", body]))

    with pytest.raises(DownloadError):
        resolve("nuclei", registry=registry(server.url("/fuzz", answer)), timeout=TIMEOUT)
    assert weights_in(cache) == []


# Mirror and offline mode


def test_the_mirror_is_tried_after_the_addresses(
    server: Server, registry: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    server.url(f"/mirror/{FILE}", send)
    monkeypatch.setenv("PEA_WEIGHTS_URL", f"{server.root}/mirror/")

    path = resolve("nuclei", registry=registry(f"{server.root}/one"))

    assert path.read_bytes() == PAYLOAD
    assert server.requests == ["/one", f"/mirror/{FILE}"]


def test_the_mirror_serves_a_model_without_addresses(
    server: Server, registry: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    server.url(f"/{FILE}", send)
    monkeypatch.setenv("PEA_WEIGHTS_URL", server.root)

    assert resolve("nuclei", registry=registry()).read_bytes() == PAYLOAD


def test_a_password_of_the_mirror_is_sent_but_never_shown(
    server: Server,
    registry: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("PEA_WEIGHTS_URL", f"http://user:secret@127.0.0.1:{server.server_port}/m?token=hidden")

    with caplog.at_level(logging.DEBUG, "pixel_embedded_affinity"), pytest.raises(DownloadError) as caught:
        resolve("nuclei", registry=registry())

    assert server.requests == [f"/m/{FILE}?token=hidden"]
    assert server.headers[0]["Authorization"].startswith("Basic ")
    for text in (str(caught.value), caplog.text):
        assert f"{server.root}/m/{FILE}: HTTP 404" in text
        assert "secret" not in text
        assert "hidden" not in text


def test_a_folder_serves_as_mirror_also_offline(
    tmp_path: Path, cache: Path, registry: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "shared weights \u00b5"
    folder.mkdir()
    (folder / FILE).write_bytes(PAYLOAD)
    monkeypatch.setenv("PEA_WEIGHTS_URL", folder.as_uri())

    path = resolve("nuclei", registry=registry(), offline=True)

    assert path == target_in(cache)
    assert path.read_bytes() == PAYLOAD
    assert (folder / FILE).read_bytes() == PAYLOAD


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "FileNotFoundError"),
        (PAYLOAD[:7], "gave 7 bytes"),
        (PAYLOAD * 2, "gave more than"),
        (PAYLOAD[::-1], "gave wrong bytes"),
    ],
    ids=["missing", "short", "long", "wrong"],
)
def test_a_bad_file_in_a_mirror_folder_is_refused(
    tmp_path: Path,
    cache: Path,
    registry: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    content: bytes | None,
    reason: str,
) -> None:
    if content is not None:
        (tmp_path / FILE).write_bytes(content)
    monkeypatch.setenv("PEA_WEIGHTS_URL", tmp_path.as_uri())

    with pytest.raises(DownloadError, match=f"file://.*{FILE}: {reason}"):
        resolve("nuclei", registry=registry())
    assert weights_in(cache) == []


@pytest.mark.parametrize(
    ("variable", "argument"),
    [("1", None), ("TRUE", None), ("yes", None), ("0", True), ("", True), ("1", True)],
)
def test_offline_mode_makes_no_request(
    server: Server,
    cache: Path,
    registry: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    argument: bool | None,
) -> None:
    monkeypatch.setenv("PEA_OFFLINE", variable)
    url = server.url("/weights", send)

    with pytest.raises(DownloadError, match=f"offline mode forbids {url}.*put {FILE}, SHA-256"):
        resolve("nuclei", registry=registry(url), offline=argument)

    assert server.requests == []
    assert not cache.exists()


@pytest.mark.parametrize(("variable", "argument"), [("0", None), ("off", None), ("", None), ("1", False)])
def test_without_offline_mode_the_network_is_used(
    server: Server,
    registry: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    argument: bool | None,
) -> None:
    monkeypatch.setenv("PEA_OFFLINE", variable)

    resolve("nuclei", registry=registry(server.url("/weights", send)), offline=argument)

    assert server.requests == ["/weights"]


def test_an_unclear_offline_setting_is_refused(
    registry: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PEA_OFFLINE", "maybe")

    with pytest.raises(InputError, match="PEA_OFFLINE is 'maybe', expected 1"):
        resolve("nuclei", registry=registry())


# What is already on this machine


def put(path: Path, content: bytes = PAYLOAD) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_bundled_weights_need_neither_network_nor_cache(
    server: Server, cache: Path, registry: Callable[..., Path]
) -> None:
    source = registry(server.url("/weights", send))
    bundled = put(source.with_name("bundled") / FILE)

    assert resolve("nuclei", registry=source) == bundled
    assert server.requests == []
    assert not cache.exists()


def test_the_cache_comes_before_bundled_weights(cache: Path, registry: Callable[..., Path]) -> None:
    put(registry().with_name("bundled") / FILE)
    cached = put(target_in(cache))

    assert resolve("nuclei", registry=registry()) == cached


DAMAGED = {"short": PAYLOAD[:-1], "changed": b"!" + PAYLOAD[1:], "empty": b""}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_damaged_bundled_weights_are_reported_and_not_used(
    server: Server,
    cache: Path,
    registry: Callable[..., Path],
    caplog: pytest.LogCaptureFixture,
    content: bytes,
) -> None:
    source = registry(server.url("/weights", send))
    bundled = put(source.with_name("bundled") / FILE, content)

    assert resolve("nuclei", registry=source) == target_in(cache)
    assert bundled.read_bytes() == content
    assert any(str(bundled) in message and "not used" in message for message in caplog.messages)


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_cached_file_is_reported_and_fetched_again(
    server: Server,
    cache: Path,
    registry: Callable[..., Path],
    caplog: pytest.LogCaptureFixture,
    content: bytes,
) -> None:
    put(target_in(cache), content)

    path = resolve("nuclei", registry=registry(server.url("/weights", send)))

    assert path.read_bytes() == PAYLOAD
    assert any(record.levelname == "WARNING" and str(path) in record.message for record in caplog.records)


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_cached_file_that_cannot_be_replaced_is_refused_and_kept(
    server: Server, cache: Path, registry: Callable[..., Path], content: bytes
) -> None:
    cached = put(target_in(cache), content)

    with pytest.raises(DownloadError, match=f"{server.root}/lost: HTTP 404"):
        resolve("nuclei", registry=registry(f"{server.root}/lost"))
    with pytest.raises(DownloadError, match="offline mode forbids"):
        resolve("nuclei", registry=registry(f"{server.root}/lost"), offline=True)

    assert cached.read_bytes() == content


def test_a_damaged_cached_file_does_not_hide_intact_bundled_weights(
    cache: Path, registry: Callable[..., Path]
) -> None:
    put(target_in(cache), b"damaged")
    bundled = put(registry().with_name("bundled") / FILE)

    assert resolve("nuclei", registry=registry()) == bundled


def test_a_cache_that_holds_the_file_is_not_written_to(cache: Path, registry: Callable[..., Path]) -> None:
    cached = put(target_in(cache))
    cache.chmod(0o555)
    before = cache.stat().st_mtime_ns
    try:
        assert resolve("nuclei", registry=registry("http://127.0.0.1:9/x"), offline=True) == cached
        assert list(cache.iterdir()) == [cached]
        assert cache.stat().st_mtime_ns == before
    finally:
        cache.chmod(0o755)


def test_a_cache_that_cannot_be_written_is_named(
    server: Server, tmp_path: Path, registry: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = put(tmp_path / "file", b"no folder") / "cache"
    monkeypatch.setenv("PEA_CACHE_DIR", str(blocked))

    with pytest.raises(DownloadError, match=f"cannot write {blocked}.*PEA_CACHE_DIR"):
        resolve("nuclei", registry=registry(server.url("/weights", send)))
    assert server.requests == []


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_read_only_cache_without_the_file_is_named(
    server: Server, cache: Path, registry: Callable[..., Path]
) -> None:
    cache.mkdir(mode=0o555)

    with pytest.raises(DownloadError, match=f"cannot write {cache}.*Permission denied.*PEA_CACHE_DIR"):
        resolve("nuclei", registry=registry(server.url("/weights", send)))


def test_a_full_disk_leaves_no_half_file_and_stops_at_once(
    server: Server, cache: Path, registry: Callable[..., Path]
) -> None:
    resource = pytest.importorskip("resource")
    source = registry(server.url("/one", send), server.url("/two", send))
    previous = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(PAYLOAD) // 2, previous[1]))
    try:
        with pytest.raises(
            DownloadError, match=f"cannot write {target_in(cache)}.*File too large.*make room"
        ):
            resolve("nuclei", registry=source)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, previous)

    assert weights_in(cache) == []
    assert server.requests == ["/one"]


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.chdir(tmp_path)

    monkeypatch.setenv("PEA_CACHE_DIR", "relative")
    assert cache_folder() == tmp_path / "relative"
    monkeypatch.setenv("PEA_CACHE_DIR", "")
    assert cache_folder().is_absolute()
    assert cache_folder().name == "pixel_embedded_affinity"
    if os.name == "posix":
        monkeypatch.setenv("PEA_CACHE_DIR", "~/weights")
        assert cache_folder() == tmp_path / "weights"


# Download into a folder


def test_download_without_a_folder_fills_the_cache(
    server: Server, cache: Path, registry: Callable[..., Path]
) -> None:
    assert download("nuclei", registry=registry(server.url("/weights", send))) == target_in(cache)


def test_download_into_a_folder_makes_it_and_keeps_the_registered_name(
    server: Server, tmp_path: Path, cache: Path, registry: Callable[..., Path]
) -> None:
    source = registry(server.url("/weights", send))
    folder = tmp_path / "new" / "folder"

    path = download("nuclei", folder, registry=source)

    assert path == folder / FILE
    assert path.read_bytes() == PAYLOAD
    assert list(folder.iterdir()) == [path]
    assert not cache.exists()
    assert download("nuclei", folder, registry=source) == path
    assert server.requests == ["/weights"]


def test_a_downloaded_folder_serves_as_a_mirror(
    server: Server, tmp_path: Path, registry: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = registry(server.url("/weights", send))
    download("nuclei", tmp_path / "mirror", registry=source)
    monkeypatch.setenv("PEA_WEIGHTS_URL", (tmp_path / "mirror").as_uri())

    assert resolve("nuclei", registry=source, offline=True).read_bytes() == PAYLOAD


@pytest.mark.parametrize("place", ["cache", "bundled"])
def test_download_copies_what_is_on_this_machine(
    tmp_path: Path, cache: Path, registry: Callable[..., Path], place: str
) -> None:
    put(target_in(cache) if place == "cache" else registry().with_name("bundled") / FILE)

    path = download("nuclei", tmp_path / "a b%20#c", registry=registry("http://127.0.0.1:9/x"), offline=True)

    assert path.read_bytes() == PAYLOAD


def test_download_never_overwrites_another_file(
    server: Server, tmp_path: Path, registry: Callable[..., Path]
) -> None:
    mine = put(tmp_path / "folder" / FILE, b"my own")

    with pytest.raises(DownloadError, match=f"{mine} has 6 bytes, expected .*move it away first"):
        download("nuclei", mine.parent, registry=registry(server.url("/weights", send)))

    assert mine.read_bytes() == b"my own"
    assert server.requests == []


def test_download_into_a_file_is_refused(
    server: Server, tmp_path: Path, registry: Callable[..., Path]
) -> None:
    mine = put(tmp_path / "file", b"my own")

    with pytest.raises(DownloadError, match=f"cannot write {mine / FILE}"):
        download("nuclei", mine, registry=registry(server.url("/weights", send)))
    assert mine.read_bytes() == b"my own"


def test_a_failed_download_makes_no_folder_and_no_file(
    server: Server, tmp_path: Path, registry: Callable[..., Path]
) -> None:
    with pytest.raises(DownloadError, match="HTTP 404"):
        download("nuclei", tmp_path / "one", registry=registry(f"{server.root}/lost"))
    with pytest.raises(DownloadError, match="offline mode forbids"):
        download("nuclei", tmp_path / "two", registry=registry(f"{server.root}/lost"), offline=True)

    assert weights_in(tmp_path / "one") == []
    assert not (tmp_path / "two").exists()


# Several processes


def spawn(registry: Path) -> multiprocessing.process.BaseProcess:
    process = multiprocessing.get_context("spawn").Process(
        target=resolve, args=("nuclei",), kwargs={"registry": registry, "timeout": 20.0}
    )
    process.start()
    return process


def wait_until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened in time"
        time.sleep(0.01)


def test_two_processes_at_once_fetch_only_once(
    server: Server, cache: Path, registry: Callable[..., Path]
) -> None:
    source = registry(server.url("/weights", send_when_released))
    processes = [spawn(source), spawn(source)]
    assert server.asked.wait(30)
    time.sleep(1.0)  # time for a second request, if there were no lock
    server.released.set()
    for process in processes:
        process.join(30)

    assert [process.exitcode for process in processes] == [0, 0]
    assert server.requests == ["/weights"]
    assert weights_in(cache) == [target_in(cache)]
    assert target_in(cache).read_bytes() == PAYLOAD


def test_threads_fetch_only_once(server: Server, registry: Callable[..., Path]) -> None:
    source = registry(server.url("/weights", send_when_released))
    found: list[Path] = []
    threads = [
        threading.Thread(target=lambda: found.append(resolve("nuclei", registry=source))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    assert server.asked.wait(30)
    server.released.set()
    for thread in threads:
        thread.join(30)

    assert len(found) == 4
    assert len(set(found)) == 1
    assert server.requests == ["/weights"]


def test_a_killed_download_leaves_no_file_and_does_not_block_the_next(
    server: Server, cache: Path, registry: Callable[..., Path]
) -> None:
    source = registry(server.url("/weights", send_half_and_stall))
    process = spawn(source)
    wait_until(lambda: any(path.suffix == ".part" for path in weights_in(cache)))
    process.kill()
    process.join(30)

    assert process.exitcode != 0
    assert not target_in(cache).exists()

    server.url("/weights", send)
    path = resolve("nuclei", registry=source)

    assert path.read_bytes() == PAYLOAD
    assert weights_in(cache) == [path], "what the killed process left is removed"


def test_leftovers_of_another_model_are_not_touched(
    server: Server, cache: Path, registry: Callable[..., Path]
) -> None:
    other = put(cache / ".cells-1.0-01234567.safetensors.0123456789abcdef.part", b"under way")

    resolve("nuclei", registry=registry(server.url("/weights", send)))

    assert other.read_bytes() == b"under way"


# Imports


def test_the_module_imports_neither_torch_nor_the_network() -> None:
    code = (
        "import sys, pixel_embedded_affinity.models.fetch, pixel_embedded_affinity.models.registry;"
        "print(sorted({'torch', 'safetensors', 'numpy', 'pooch', 'requests', 'filelock'} & set(sys.modules)))"
    )

    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert result.stdout.strip() == "[]"


def test_entries_of_the_tests_are_those_of_the_registry(registry: Callable[..., Path]) -> None:
    assert get_entry("nuclei", registry("http://a/x")) == entry_with("http://a/x")
