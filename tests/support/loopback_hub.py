"""A small Hub on loopback, and a client that asks it from a process of its own.

huggingface_hub reads its environment when it is imported, so each call gets a process that has not
imported it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

import pytest
from run_in_forks import Script

import dolg_zoo

CALL_SCRIPT = Path(__file__).with_name("call_in_process.py")
LFS_SUFFIXES = (".h5", ".pt", ".pyth", ".ckpt", ".pdparams", ".npz")


def git_blob_sha1(data: bytes) -> str:
    return hashlib.sha1(b"blob " + str(len(data)).encode() + b"\0" + data).hexdigest()


def etag_of(name: str, data: bytes) -> str:
    return hashlib.sha256(data).hexdigest() if name.endswith(LFS_SUFFIXES) else git_blob_sha1(data)


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


@dataclass
class Hub:
    """What the server holds, the faults it is told to show, and what it was asked."""

    endpoint: str = ""
    commits: dict[tuple[str, str], dict[str, bytes]] = field(default_factory=dict)
    branches: dict[tuple[str, str], str] = field(default_factory=dict)
    refusals: dict[str, tuple[int, str]] = field(default_factory=dict)  # repo: status, error code
    damage: dict[str, int] = field(default_factory=dict)  # file: how many times to serve it wrong
    drop_after: dict[str, int] = field(default_factory=dict)  # file: bytes before hanging up, once
    etags: dict[str, str] = field(default_factory=dict)  # file: an etag that is not its hash
    tokens: dict[str, str] = field(default_factory=dict)  # private repo: the token it opens to
    wait_header: tuple[str, str] | None = None  # sent with each refusal
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)  # method, path, Range

    def commit(self, repo: str, files: dict[str, bytes], branch: str = "main") -> str:
        content = repr((repo, sorted(files.items()))).encode()
        commit = hashlib.sha1(content).hexdigest()
        self.commits[repo, commit] = files
        self.branches[repo, branch] = commit
        return commit

    def count(self, method: str) -> int:
        return sum(1 for request in self.requests if request[0] == method)


def handler_for(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: Any) -> None:
            pass

        def do_HEAD(self) -> None:
            self.answer()

        def do_GET(self) -> None:
            self.answer()

        def do_POST(self) -> None:
            form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.answer(form)

        def answer(self, form: dict[str, list[str]] | None = None) -> None:
            hub.requests.append((self.command, self.path, self.headers["Range"]))
            resolve = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self.path)
            paths_info = re.fullmatch(r"/api/models/([^/]+/[^/]+)/paths-info/([^/]+)", self.path)
            match = resolve or paths_info
            if match is None:
                return self.refuse(400, "BadRequest")
            repo, revision = match[1], unquote(match[2])
            if repo in hub.refusals:
                return self.refuse(*hub.refusals[repo])
            if repo in hub.tokens and self.headers["Authorization"] != f"Bearer {hub.tokens[repo]}":
                return self.refuse(401, "RepoNotFound")
            if repo not in {repo for repo, _ in hub.commits}:
                return self.refuse(401, "RepoNotFound")
            commit = hub.branches.get((repo, revision), revision)
            files = hub.commits.get((repo, commit))
            if files is None:
                return self.refuse(404, "RevisionNotFound")
            if paths_info:
                assert form is not None
                return self.list_paths(files, form["paths"])
            name = unquote(match[3])
            if name not in files:
                return self.refuse(404, "EntryNotFound")
            return self.serve(commit, name, files[name])

        def refuse(self, status: int, code: str) -> None:
            self.send_response(status)
            self.send_header("X-Error-Code", code)
            if hub.wait_header is not None:
                self.send_header(*hub.wait_header)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def list_paths(self, files: dict[str, bytes], names: list[str]) -> None:
            infos = []
            for name in names:
                data = files[name]
                info = {"type": "file", "path": name, "size": len(data), "oid": git_blob_sha1(data)}
                if name.endswith(LFS_SUFFIXES):
                    # git itself holds a pointer, and the oid is that of the pointer
                    sha256 = hashlib.sha256(data).hexdigest()
                    pointer = f"version 1\noid sha256:{sha256}\nsize {len(data)}\n".encode()
                    info["oid"] = git_blob_sha1(pointer)
                    info["lfs"] = {"oid": sha256, "size": len(data), "pointerSize": len(pointer)}
                infos.append(info)
            body = json.dumps(infos).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def serve(self, commit: str, name: str, data: bytes) -> None:
            etag = hub.etags.get(name, etag_of(name, data))
            start = 0
            if self.headers["Range"]:
                start = int(re.fullmatch(r"bytes=(\d+)-", self.headers["Range"])[1])
            self.send_response(206 if start else 200)
            self.send_header("X-Repo-Commit", commit)
            self.send_header("ETag", f'"{etag}"')
            if name.endswith(LFS_SUFFIXES):
                self.send_header("X-Linked-Etag", f'"{etag}"')
                self.send_header("X-Linked-Size", str(len(data)))
            self.send_header("Accept-Ranges", "bytes")
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            self.send_header("Content-Length", str(len(data) - start))
            self.end_headers()
            if self.command == "HEAD":
                return
            if hub.damage.get(name, 0) > 0:
                hub.damage[name] -= 1
                data = flipped(data)
            if name in hub.drop_after:
                self.wfile.write(data[: hub.drop_after.pop(name)])
                self.close_connection = True
                return
            self.wfile.write(data[start:])

    return Handler


@contextmanager
def running(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """The address of a server on loopback, which runs in a thread."""
    # else the kernel holds a body back until its headers are acknowledged, 40 ms later
    handler.disable_nagle_algorithm = True
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def serving() -> Iterator[Hub]:
    hub = Hub()
    with running(handler_for(hub)) as hub.endpoint:
        yield hub


@pytest.fixture
def hub() -> Iterator[Hub]:
    with serving() as hub:
        yield hub


@pytest.fixture(scope="module")
def module_hub() -> Iterator[Hub]:
    """One for all tests of a module, where what is served is large."""
    with serving() as hub:
        yield hub


@dataclass
class Client:
    """Calls dolg_zoo.weights with the environment a user would set; `home` is HF_HOME."""

    endpoint: str
    home: Path

    @property
    def environment(self) -> dict[str, str]:
        inherited = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith("HF_") and not key.lower().endswith("_proxy")
        }
        return inherited | {
            # the dolg_zoo under test, whether it is installed or found from the working folder
            "PYTHONPATH": str(Path(dolg_zoo.__file__).parents[1]),
            "HF_ENDPOINT": self.endpoint,
            "HF_HOME": str(self.home),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        }

    def start(self, function: str, /, *, env: dict[str, str], **arguments: Any) -> Script:
        command = [CALL_SCRIPT, json.dumps([function, arguments])]
        return Script(command, self.environment | env)

    def call(self, function: str, /, **arguments: Any) -> dict[str, Any]:
        """Return what the function returned, or its error's class and message."""
        return finished(self.start(function, env={}, **arguments))

    def call_offline(self, function: str, /, **arguments: Any) -> dict[str, Any]:
        return finished(self.start(function, env={"HF_HUB_OFFLINE": "1"}, **arguments))

    def call_without_links(self, function: str, /, **arguments: Any) -> dict[str, Any]:
        return finished(self.start(function, env={"HF_HUB_DISABLE_SYMLINKS": "1"}, **arguments))

    @property
    def cache(self) -> Path:
        return self.home / "hub"

    def cached_files(self) -> list[Path]:
        return [path for path in self.cache.glob("models--*/*/**/*") if path.is_file()]


def finished(script: Script) -> dict[str, Any]:
    output, errors = script.communicate(timeout=60)
    assert script.returncode == 0, errors
    return json.loads(output)


@pytest.fixture
def client(hub: Hub, tmp_path: Path) -> Client:
    return Client(hub.endpoint, tmp_path / "hf")
