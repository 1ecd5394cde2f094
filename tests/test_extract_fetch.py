"""Weights from a server on this machine: right files kept, wrong ones never, each failure with its remedy."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from huggingface_hub import constants

from extract.backbones import kept
from extract.backbones.fetch import fetch, fetch_hub
from extract.backbones.hub import snapshot_folder
from extract.backbones.kept import digest_of_weights, kept_file, kept_path, weights_folder
from extract.backbones.pinned import Pinned, is_address, read_pinned

BODY = bytes(range(251)) * 8_009  # two pieces, of no round length
DIGEST = hashlib.sha256(BODY).hexdigest()
REVISION = "0123456789abcdef0123456789abcdef01234567"


class Server:
    """Files by path, and how often each was asked for. cut: bytes that an answer promises and does not send."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.moved: dict[str, str] = {}
        self.cut: dict[str, int] = {}
        self.asked: list[str] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(body=True)

            def do_HEAD(self) -> None:
                self._answer(body=False)

            def _answer(self, *, body: bool) -> None:
                path = self.path.partition("?")[0]
                server.asked.append(f"{self.command} {path}")
                if path in server.moved:
                    self.send_response(302)
                    self.send_header("Location", server.moved[path])
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                content = server.files.get(path)
                self.send_response(404 if content is None else 200)
                if content is None:
                    self.send_header("X-Error-Code", "EntryNotFound")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                self.send_header("Content-Length", str(len(content)))
                self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
                self.send_header("X-Repo-Commit", REVISION)
                self.end_headers()
                if body:
                    self.wfile.write(content[: len(content) - server.cut.get(path, 0)])

            def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - its name there
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    found = Server()
    yield found
    found.close()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DUET_WEIGHTS", str(tmp_path / "weights"))
    return tmp_path / "weights"


def everything_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


# ------------------------------------------------------------------------------------------------ one file


def test_a_file_is_fetched_once_and_kept_under_its_digest(server: Server, folder: Path) -> None:
    server.files["/a/net%201.pth"] = BODY
    pinned = Pinned(f"{server.url}/a/net%201.pth", DIGEST)
    seen: list[tuple[int, int]] = []
    path = fetch(pinned, lambda got, total: seen.append((got, total)))
    assert path == kept_path(pinned) == folder / DIGEST / "net-1.pth"
    assert path.read_bytes() == BODY
    assert seen == [(1 << 20, len(BODY)), (len(BODY), len(BODY))]
    assert fetch(pinned) == path
    assert len(server.asked) == 1, "the second time it was here"
    assert everything_in(folder) == [path], "nothing else is left"
    assert kept_file(pinned, "it", "fetch it") == path


def test_a_file_that_is_moved_is_followed(server: Server) -> None:
    server.files["/b/x"], server.moved["/a/x"] = BODY, f"{server.url}/b/x"
    assert fetch(Pinned(f"{server.url}/a/x", DIGEST)).read_bytes() == BODY


def test_another_file_is_refused_and_not_kept(server: Server, folder: Path) -> None:
    server.files["/net.pth"] = BODY + b"!"
    got = hashlib.sha256(BODY + b"!").hexdigest()
    with pytest.raises(ValueError, match=rf"gave another file: sha256 is {got}, wanted {DIGEST}; nothing of it"):
        fetch(Pinned(f"{server.url}/net.pth", DIGEST))
    assert everything_in(folder) == []


def test_an_answer_that_breaks_off_is_refused_and_not_kept(server: Server, folder: Path) -> None:
    server.files["/net.pth"], server.cut["/net.pth"] = BODY, 7
    with pytest.raises(ValueError, match=r"can't be fetched \(7 bytes are missing at its end\); connect and try again"):
        fetch(Pinned(f"{server.url}/net.pth", DIGEST))
    assert everything_in(folder) == []


def test_an_address_without_a_file_says_what_the_server_said(server: Server) -> None:
    with pytest.raises(ValueError, match=r"net\.pth can't be fetched \(the server says 404 Not Found\)"):
        fetch(Pinned(f"{server.url}/net.pth", DIGEST))


def test_without_a_network_the_remedy_names_a_place_that_works(server: Server) -> None:
    server.close()
    pinned = Pinned(f"{server.url}/net.pth", DIGEST)
    with pytest.raises(ValueError, match=r"can't be fetched \(.*refused\); connect .*or put the file at /") as caught:
        fetch(pinned)
    by_hand = Path(str(caught.value).rpartition(" at ")[2])
    by_hand.write_bytes(BODY)
    assert fetch(pinned) == kept_file(pinned, "it", "fetch it") == by_hand


def test_an_interrupted_download_leaves_nothing(server: Server, folder: Path) -> None:
    server.files["/net.pth"] = BODY

    def interrupt(got: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(Pinned(f"{server.url}/net.pth", DIGEST), interrupt)
    assert everything_in(folder) == []


def test_a_file_that_was_damaged_where_it_is_kept_is_told_and_fetched_again(server: Server) -> None:
    server.files["/net.pth"] = BODY
    pinned = Pinned(f"{server.url}/net.pth", DIGEST)
    fetch(pinned).write_bytes(BODY[:-1])
    with pytest.raises(ValueError, match=rf"it at .* not what was published: .* wanted {DIGEST}; delete .*`fetch it`"):
        kept_file(pinned, "it", "fetch it")
    assert fetch(pinned).read_bytes() == BODY
    assert len(server.asked) == 2


def test_a_file_that_was_never_fetched_is_told_with_the_command() -> None:
    pinned = Pinned("https://example.org/net.pth", DIGEST)
    with pytest.raises(ValueError, match=r"weights it are not on this machine: .*`fetch it`, or put the file of https"):
        kept_file(pinned, "it", "fetch it")


# ------------------------------------------------------------------------------------------------ a hub's model


@pytest.fixture
def hub(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub's library takes the server for the hub, and doesn't wait before it tries again."""
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)  # as make sets it; this hub is on loopback
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)


def resolve(server: Server, name: str, content: bytes) -> None:
    server.files[f"/lab/net/resolve/{REVISION}/{name}"] = content


@pytest.mark.usefixtures("hub")
def test_a_hub_model_is_fetched_whole_and_found_again(server: Server) -> None:
    resolve(server, "config.json", b"{}")
    resolve(server, "preprocessor_config.json", b"[]")
    resolve(server, "model.safetensors", BODY)
    with pytest.raises(
        ValueError, match=rf"lab/net at revision {REVISION} is not on this machine: .*duet models fetch"
    ):
        snapshot_folder("lab/net", REVISION)
    folder = fetch_hub("lab/net", REVISION)
    assert snapshot_folder("lab/net", REVISION) == folder
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        "config.json": b"{}",
        "preprocessor_config.json": b"[]",
        "model.safetensors": BODY,
    }
    before = len(server.asked)
    assert fetch_hub("lab/net", REVISION) == folder
    assert len(server.asked) == before


@pytest.mark.usefixtures("hub")
def test_shards_are_fetched_as_their_index_says(server: Server) -> None:
    resolve(server, "config.json", b"{}")
    index = b'{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors", "c": "model-1.safetensors"}}'
    resolve(server, "model.safetensors.index.json", index)
    resolve(server, "model-1.safetensors", b"one")
    with pytest.raises(ValueError, match=r"has no model-2\.safetensors, which its model\.safetensors\.index\.json"):
        fetch_hub("lab/net", REVISION)
    resolve(server, "model-2.safetensors", b"two")
    folder = fetch_hub("lab/net", REVISION)
    assert (folder / "model-1.safetensors").read_bytes() + (folder / "model-2.safetensors").read_bytes() == b"onetwo"


@pytest.mark.usefixtures("hub")
def test_what_is_no_model_is_told(server: Server) -> None:
    with pytest.raises(ValueError, match=r"has no config\.json; wanted a model of transformers or timm"):
        fetch_hub("lab/net", REVISION)
    resolve(server, "config.json", b"{}")
    resolve(server, "pytorch_model.bin", BODY)
    with pytest.raises(ValueError, match=r"has no model\.safetensors; other formats can run code when read"):
        fetch_hub("lab/net", REVISION)
    assert not [line for line in server.asked if "pytorch_model" in line]


@pytest.mark.usefixtures("hub")
def test_a_large_file_that_was_damaged_is_told(server: Server) -> None:
    resolve(server, "config.json", b"{}")
    resolve(server, "model.safetensors", BODY)
    path = fetch_hub("lab/net", REVISION) / "model.safetensors"
    assert path.is_symlink()
    path.resolve().write_bytes(b"damaged")
    with pytest.raises(ValueError, match=rf"is damaged: its sha256 is not {DIGEST}; delete .* and fetch again"):
        fetch_hub("lab/net", REVISION)
    path.resolve().unlink()
    assert (fetch_hub("lab/net", REVISION) / "model.safetensors").read_bytes() == BODY


@pytest.mark.usefixtures("hub")
def test_without_a_network_the_hub_s_remedy_is_a_folder(server: Server) -> None:
    server.close()
    with pytest.raises(ValueError, match=r"config\.json of lab/net can't be fetched \(.*\); connect .* a folder"):
        fetch_hub("lab/net", REVISION)


# ------------------------------------------------------------------------------------------------ addresses, digests


def test_an_address_is_read_with_its_digest() -> None:
    pinned = read_pinned(f"https://example.org/a/b.pth?x=1#sha256={DIGEST}")
    assert (pinned.url, pinned.sha256, pinned.file_name) == ("https://example.org/a/b.pth?x=1", DIGEST, "b.pth")
    assert is_address("https://x/y")
    assert not is_address("weights/y.pth")
    assert Pinned("https://example.org/..%2F..%2Fevil", DIGEST).file_name == "evil"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("https://example.org/b.pth", r"has no digest; wanted https://HOST/FILE#sha256="),
        (f"https://example.org/b.pth#sha256={DIGEST[:-1]}", "has no digest"),
        (f"https://example.org/b.pth#md5={DIGEST}", "has no digest"),
        (f"file:///etc/passwd#sha256={DIGEST}", r"is no file on the web; wanted https://HOST/\.\.\./FILE"),
        (f"https://example.org/#sha256={DIGEST}", "is no file on the web"),
    ],
)
def test_an_address_without_a_digest_or_a_file_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_pinned(text)


def test_where_weights_are_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert weights_folder() == tmp_path / "weights"
    monkeypatch.delenv("DUET_WEIGHTS")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert weights_folder() == tmp_path / "x/duet/weights"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    assert weights_folder() == tmp_path / "home/.cache/duet/weights"


def test_a_big_file_is_read_once_for_each_change(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "_REMEMBERED_BYTES", len(BODY))
    path = tmp_path / "net.pth"
    path.write_bytes(BODY)
    assert digest_of_weights(path) == DIGEST
    assert everything_in(folder) == [folder / "digests.jsonl"]
    status = path.stat()
    path.write_bytes(BODY[::-1])
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert digest_of_weights(path) == DIGEST, "the same size, time and inode: the memory answered"
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert digest_of_weights(path) == hashlib.sha256(BODY[::-1]).hexdigest()
    path.write_bytes(BODY[1:])
    assert digest_of_weights(path) == hashlib.sha256(BODY[1:]).hexdigest()
    assert len((folder / "digests.jsonl").read_text().split()) > 0


def test_a_memory_that_can_not_be_written_costs_time_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "_REMEMBERED_BYTES", 1)
    (tmp_path / "file").write_bytes(b"in the way")
    monkeypatch.setenv("DUET_WEIGHTS", str(tmp_path / "file"))
    (tmp_path / "net.pth").write_bytes(BODY)
    assert digest_of_weights(tmp_path / "net.pth") == DIGEST
