"""Folders and ranges: local and remote give the same, and what cannot be had is said."""

from __future__ import annotations

import io
import math
import re
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import fsspec
import pytest
from conftest import Corpus
from convert.trees import tree_digest

from finedata.convert.run import convert
from finedata.errors import MissingExtraError, SourceError, UsageError, install_command
from finedata.readers.files import SourceFile, open_folder
from finedata.readers.rlds.source import open_rlds

CONTENT = bytes(range(256)) * 40


@pytest.fixture(params=["local", "file://", "memory://"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "data"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.bin").write_bytes(CONTENT)
    (folder / "deep" / "b.bin").write_bytes(b"b")
    if request.param != "memory://":
        yield f"file://{folder}" if request.param == "file://" else str(folder)
        return
    memory = fsspec.filesystem("memory")
    memory.put(str(folder), "/files/data", recursive=True)
    yield "memory://files/data"
    memory.rm("/files", recursive=True)


def test_lists_and_reads_ranges(address: str) -> None:
    folder = open_folder(address)
    assert folder.files() == [SourceFile("a.bin", len(CONTENT)), SourceFile("deep/b.bin", 1)]
    assert folder.read_all("a.bin") == CONTENT
    assert folder.child("deep").read_all("b.bin") == b"b"
    reader = folder.open("a.bin")
    assert reader.size == len(CONTENT)
    assert reader.read(1000, 300) == CONTENT[1000:1300]
    assert reader.read(len(CONTENT) - 5, 100) == CONTENT[-5:]
    assert reader.read(len(CONTENT) + 5, 10) == b""
    reader.close()


def test_a_closed_file_is_given_back_once(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(CONTENT)

    def held() -> int:
        links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
        return sum(link.readlink() == path.resolve() for link in links)

    reader = open_folder(tmp_path).open("a.bin")
    assert held() == 1
    reader.close()
    assert held() == 0
    with path.open("rb") as other:  # it takes the number that was given back
        reader.close()
        assert other.read() == CONTENT
    with pytest.raises(OSError, match="descriptor"):
        reader.read(0, 1)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="found a file"):
        open_folder(tmp_path / "file")


def test_unknown_scheme_is_wrong_usage() -> None:
    with pytest.raises(UsageError, match="nosuch"):
        open_folder("nosuch://bucket/folder")


def test_missing_library_is_named() -> None:
    try:
        import s3fs  # noqa: F401
    except ImportError:
        with pytest.raises(MissingExtraError, match=re.escape(install_command("remote"))):
            open_folder("s3://bucket/folder")
    else:
        pytest.skip("s3fs is installed")


def test_empty_remote_folder_is_wrong_usage() -> None:
    with pytest.raises(UsageError, match="no file"):
        open_folder("memory://nothing/here").files()


class RangeHandler(SimpleHTTPRequestHandler):
    """A server as corpora are published on: folder listings, sizes, byte ranges."""

    answers_left: ClassVar[float] = math.inf

    def send_head(self) -> io.BytesIO | None:
        path = Path(self.translate_path(self.path))
        if "tfrecord" in path.name and self.command == "GET":
            RangeHandler.answers_left -= 1
            if RangeHandler.answers_left < 0:
                self.send_error(503)
                return None
        if path.is_dir():
            return super().send_head()
        if not path.is_file():
            self.send_error(404)
            return None
        data = path.read_bytes()
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if wanted:
            first = int(wanted.group(1))
            last = min(int(wanted.group(2) or len(data) - 1), len(data) - 1)
            body = data[first : last + 1]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
        else:
            body = data
            self.send_response(200)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        return io.BytesIO(body)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def served(corpus: Corpus) -> Iterator[str]:
    """The corpus behind a real HTTP server on this machine."""
    pytest.importorskip("aiohttp", reason="fsspec reads HTTP through aiohttp")
    handler = partial(RangeHandler, directory=str(corpus.folder.parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_corpus_behind_http_converts_to_the_same_bytes(
    served: str, converted: Path, tmp_path: Path
) -> None:
    convert("bridge_v2", input=f"{served}/1.0.0", out=tmp_path / "out")
    assert tree_digest(tmp_path / "out") == tree_digest(converted)
    assert open_rlds(served).version == "1.0.0"


@pytest.mark.parametrize("answers", [0, 1, 4, 7])
def test_a_server_that_goes_away_stops_the_run_and_the_same_command_continues(
    answers: int, served: str, converted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(RangeHandler, "answers_left", answers)
        with pytest.raises(SourceError, match="same command"):
            convert("bridge_v2", input=f"{served}/1.0.0", out=tmp_path / "out")
    convert("bridge_v2", input=f"{served}/1.0.0", out=tmp_path / "out")
    assert tree_digest(tmp_path / "out") == tree_digest(converted)
