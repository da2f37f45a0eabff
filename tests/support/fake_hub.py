"""A Hub on loopback that serves, is written to, and misbehaves as a test tells it to.

It speaks what huggingface_hub sends when it reads files, makes a repository, uploads and commits.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote

import yaml

TOKEN = "hf_owner"
READER = "hf_reader"  # a token that may not write, nor see what is private
LFS_SUFFIXES = (".h5", ".npz", ".png", ".pt", ".pyth", ".ckpt", ".pdparams", ".safetensors")
PIECE = 1 << 14

REPO = r"(?P<repo>[^/]+/[^/]+?)"
ROUTES = [
    ("POST", "create", r"/api/repos/create"),
    ("POST", "validate", r"/api/validate-yaml"),
    ("GET", "info", rf"/api/models/{REPO}(?:/revision/[^/]+)?"),
    ("POST", "preupload", rf"/api/models/{REPO}/preupload/main"),
    ("POST", "commit", rf"/api/models/{REPO}/commit/main"),
    ("POST", "paths", rf"/api/models/{REPO}/paths-info/(?P<revision>[^/]+)"),
    ("POST", "batch", rf"/{REPO}\.git/info/lfs/objects/batch"),
    ("PUT", "put", r"/lfs/(?P<oid>[0-9a-f]{64})(?:/(?P<part>\d+))?"),
    ("POST", "complete", r"/lfs/(?P<oid>[0-9a-f]{64})/complete"),
    ("GET", "resolve", rf"/{REPO}/resolve/(?P<revision>[^/]+)/(?P<file>.+)"),
]
READS = {"info", "paths", "resolve"}
OWNERS = {"create", "validate", "preupload", "commit", "batch"}


def sha256_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def git_blob_sha1(data: bytes) -> str:
    return hashlib.sha1(b"blob " + str(len(data)).encode() + b"\0" + data).hexdigest()


def etag_of(name: str, data: bytes) -> str:
    return sha256_of(data) if name.endswith(LFS_SUFFIXES) else git_blob_sha1(data)


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


@dataclass
class Repo:
    """Its commits, the latest last, and where its branches are."""

    private: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    def commit(self, files: dict[str, bytes], branch: str = "main", message: str = "") -> str:
        """Make a commit that holds these files and no others; return its hash."""
        content = repr((len(self.commits), sorted(files.items()))).encode()
        commit = hashlib.sha1(content).hexdigest()
        self.commits[commit] = dict(files)
        self.branches[branch] = commit
        self.messages.append(message)
        return commit

    @property
    def head(self) -> tuple[str, dict[str, bytes]]:
        commit = self.branches["main"]
        return commit, self.commits[commit]


@dataclass
class Request:
    """What the Hub was asked: `step` is the name of a route, `file` the name in its path."""

    method: str
    path: str
    headers: Message
    body: bytes
    step: str = ""
    where: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        method = "GET" if self.method == "HEAD" else self.method
        for wanted, step, pattern in ROUTES:
            match = re.fullmatch(pattern, self.path.split("?")[0])
            if wanted == method and match:
                found = match.groupdict().items()
                self.step, self.where = step, {k: unquote(v) for k, v in found if v is not None}
                return

    @property
    def file(self) -> str:
        return self.where.get("file", "")

    @property
    def token(self) -> str | None:
        return (self.headers["Authorization"] or "").removeprefix("Bearer ") or None


@dataclass
class Answer:
    """What the Hub answers, for a fault to change, and how it is to be sent."""

    method: str
    url: str
    status: int = 200
    headers: Message = field(default_factory=Message)
    body: bytes = b""
    outside: str = ""  # a path that no answer may have anything written to
    struck: int = 0  # how many answers the fault has changed, with this one
    # Send this share of the body, then `reset`, `stall` or hang up; below 0: not even the headers.
    cut_at: float | None = None
    then: str = ""

    def set(self, name: str, value: str | None) -> None:
        del self.headers[name]
        if value is not None:
            self.headers[name] = value

    def give(self, content: object, status: int = 200, **headers: str) -> None:
        """Answer with bytes, or with JSON."""
        self.status = status
        self.body = content if isinstance(content, bytes) else json.dumps(content).encode()
        for name, value in {**headers, "Content_Length": str(len(self.body))}.items():
            self.set(name.replace("_", "-"), value)

    def refuse(self, status: int, message: str, code: str = "") -> None:
        for name in ("ETag", "X-Repo-Commit"):
            self.set(name, None)
        self.give({"error": message}, status, X_Error_Message=message, X_Error_Code=code)


Change = Callable[[Answer], None]


def status(code: int, message: str = "", **headers: str) -> Change:
    """Refuse with a status; X_Error_Code says of what kind the refusal is."""

    def change(answer: Answer) -> None:
        answer.refuse(code, message)
        if not message:
            answer.give(b"")
        answer.status = code
        for name, value in headers.items():
            answer.set(name.replace("_", "-"), value)

    return change


def header(name: str, value: str | None) -> Change:
    """Send another value, in which {outside} is a path, or leave the header out."""

    def change(answer: Answer) -> None:
        answer.set(name, value and value.replace("{outside}", answer.outside))

    return change


def cut(share: float, then: str = "") -> Change:
    """Break off after this share of the body, or below 0 before the headers."""

    def change(answer: Answer) -> None:
        answer.cut_at, answer.then = share, then

    return change


def flip(answer: Answer) -> None:
    """Send a wrong byte."""
    if answer.body:
        answer.body = flipped(answer.body)


@dataclass
class Fault:
    """A change to the answers to some requests.

    Attributes:
        change: makes the answer wrong.
        file: of requests for it alone, and of those whose path names no file; "" for all.
        methods: only of these; () for all.
        step: only of this route; "" for all.
        times: how often, before the server is well again.
        done: whether a request to write is acted upon before its answer is changed.
        outside: a path for the change to name.
        struck: how often it happened.
    """

    change: Change
    file: str = ""
    methods: tuple[str, ...] = ()
    step: str = ""
    times: float = float("inf")
    done: bool = False
    outside: str = ""
    struck: int = 0

    def strikes(self, request: Request) -> bool:
        return (
            self.struck < self.times
            and (not self.methods or request.method in self.methods)
            and (not self.file or request.file in ("", self.file))
            and self.step in ("", request.step)
        )

    def strike(self, answer: Answer) -> None:
        self.struck += 1
        answer.outside, answer.struck = self.outside, self.struck
        self.change(answer)


@dataclass
class Hub:
    """What the server holds, the faults it is told to show, and what it was asked."""

    endpoint: str = ""
    repos: dict[str, Repo] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    parts: dict[tuple[str, int], bytes] = field(default_factory=dict)
    part_size: int | None = None  # objects larger than it are to be sent in parts
    faults: list[Fault] = field(default_factory=list)
    bytes_per_s: float = float("inf")
    requests: list[Request] = field(default_factory=list)
    well_again: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def commit(self, repo: str, files: dict[str, bytes], branch: str = "main") -> str:
        return self.repos.setdefault(repo, Repo()).commit(files, branch)

    def files(self, repo: str) -> dict[str, bytes]:
        return self.repos[repo].head[1]

    def count(self, asked: str, file: str = "") -> int:
        """How many requests there were of a method or a step, for a file or any."""
        return sum(
            asked in (request.method, request.step) and file in ("", request.file)
            for request in self.requests
        )

    def breaks(self, change: Change, file: str = "", **when: Any) -> Fault:
        self.faults.append(Fault(change, file, **when))
        return self.faults[-1]

    def heal(self) -> None:
        """Take the faults away, and let go of those whom they keep waiting."""
        self.faults.clear()
        self.bytes_per_s = float("inf")
        self.well_again.set()
        self.well_again = threading.Event()

    def answer(self, request: Request) -> Answer:
        answer = Answer(request.method, self.endpoint + request.path)
        with self.lock:
            self.requests.append(request)
            striking = [fault for fault in self.faults if fault.strikes(request)]
            if request.step in READS or all(fault.done for fault in striking):
                self.act(request, answer)
            for fault in striking:
                fault.strike(answer)
        return answer

    def act(self, request: Request, answer: Answer) -> None:
        token, arguments = request.token, dict[str, Any](request.where)
        if not request.step:
            return answer.refuse(400, f"no route {request.method} {request.path}", "BadRequest")
        if token not in (None, TOKEN, READER):
            return answer.refuse(401, "Invalid credentials in Authorization header")
        if request.step in OWNERS and token != TOKEN:
            return answer.refuse(403, "Forbidden")
        if name := arguments.pop("repo", None):
            repo = self.repos.get(name)
            if repo is None or (repo.private and token != TOKEN):
                hidden = 401 if token is None else 404
                return answer.refuse(hidden, "Repository not found", "RepoNotFound")
            arguments["repo"] = repo
            if revision := arguments.get("revision"):
                arguments["revision"] = repo.branches.get(revision, revision)
                if arguments["revision"] not in repo.commits:
                    return answer.refuse(404, "no such revision", "RevisionNotFound")
        return getattr(self, f"on_{request.step}")(request, answer, **arguments)

    def on_resolve(
        self, request: Request, answer: Answer, repo: Repo, revision: str, file: str
    ) -> None:
        files = repo.commits[revision]
        if file not in files:
            return answer.refuse(404, "no such file", "EntryNotFound")
        data = files[file]
        headers = {"ETag": f'"{etag_of(file, data)}"', "X_Repo_Commit": revision}
        if asked := request.headers["Range"]:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            headers["Content_Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
            data = data[start:]
        answer.give(data, 206 if asked else 200, Accept_Ranges="bytes", **headers)

    def on_paths(self, request: Request, answer: Answer, repo: Repo, revision: str) -> None:
        infos: list[dict[str, Any]] = []
        for name in parse_qs(request.body.decode())["paths"]:
            data = repo.commits[revision][name]
            info = {"type": "file", "path": name, "size": len(data), "oid": git_blob_sha1(data)}
            if name.endswith(LFS_SUFFIXES):
                # git itself holds a pointer, and the oid is that of the pointer
                sha256 = sha256_of(data)
                pointer = f"version 1\noid sha256:{sha256}\nsize {len(data)}\n".encode()
                lfs = {"oid": sha256, "size": len(data), "pointerSize": len(pointer)}
                info |= {"oid": git_blob_sha1(pointer), "lfs": lfs}
            infos.append(info)
        answer.give(infos, Content_Type="application/json")

    def on_info(self, request: Request, answer: Answer, repo: Repo) -> None:
        commit, files = repo.head
        siblings = [{"rfilename": name} for name in files]
        about = {"id": request.where["repo"], "sha": commit, "private": repo.private}
        answer.give({**about, "siblings": siblings})

    def on_create(self, request: Request, answer: Answer) -> None:
        asked = json.loads(request.body)
        name = f"{asked['organization']}/{asked['name']}"
        if asked["organization"] != "me":
            message = "You have no right to create a model under this namespace"
            return answer.refuse(403, message)
        url = {"url": f"{self.endpoint}/{name}"}
        if name in self.repos:
            return answer.give({"error": "You already created this model repo", **url}, 409)
        self.repos[name] = Repo(private=asked["visibility"] == "private")
        self.repos[name].commit({".gitattributes": b"*.h5 filter=lfs\n"}, message="initial commit")
        return answer.give(url)

    def on_validate(self, request: Request, answer: Answer) -> None:
        header = json.loads(request.body)["content"].removeprefix("---\n").split("\n---\n")[0]
        try:
            yaml.safe_load(header)
        except yaml.YAMLError as error:
            return answer.give({"errors": [{"message": str(error)}], "warnings": []}, 400)
        return answer.give({"errors": [], "warnings": []})

    def on_preupload(self, request: Request, answer: Answer, repo: Repo) -> None:
        files = []
        for file in json.loads(request.body)["files"]:
            assert len(base64.b64decode(file["sample"])) <= 512
            name, there = file["path"], repo.head[1].get(file["path"])
            mode = "lfs" if name.endswith(LFS_SUFFIXES) else "regular"
            found = {"path": name, "uploadMode": mode, "shouldIgnore": False}
            files.append(found | ({"oid": etag_of(name, there)} if there is not None else {}))
        answer.give({"files": files})

    def on_batch(self, request: Request, answer: Answer, repo: Repo) -> None:
        asked = json.loads(request.body)
        assert asked["operation"] == "upload" and "basic" in asked["transfers"]
        answer.give({"objects": [self.upload(wanted) for wanted in asked["objects"]]})

    def upload(self, wanted: dict[str, Any]) -> dict[str, Any]:
        if wanted["oid"] in self.objects:
            return wanted
        href = f"{self.endpoint}/lfs/{wanted['oid']}"
        action: dict[str, Any] = {"href": href}
        if self.part_size and wanted["size"] > self.part_size:
            parts = range(1, 1 - -wanted["size"] // self.part_size)
            places = {str(part): f"{href}/{part}" for part in parts}
            places["chunk_size"] = str(self.part_size)
            action = {"href": f"{href}/complete", "header": places}
        return {**wanted, "actions": {"upload": action}}

    def on_put(self, request: Request, answer: Answer, oid: str, part: str = "") -> None:
        if not part:
            return self.keep(answer, oid, request.body)
        self.parts[oid, int(part)] = request.body
        return answer.give(b"", ETag=f'"{part}"')

    def on_complete(self, request: Request, answer: Answer, oid: str) -> None:
        numbers = [part["partNumber"] for part in json.loads(request.body)["parts"]]
        self.keep(answer, oid, b"".join(self.parts[oid, number] for number in numbers))

    def keep(self, answer: Answer, oid: str, data: bytes) -> None:
        if sha256_of(data) != oid:
            return answer.refuse(400, "not the object that was announced")
        self.objects[oid] = data
        return answer.give(b"")

    def on_commit(self, request: Request, answer: Answer, repo: Repo) -> None:
        header, *changes = map(json.loads, request.body.splitlines())
        head, before = repo.head
        if header["value"].get("parentCommit", head) != head:
            return answer.refuse(412, "A commit has happened since")
        files = dict(before)
        for change in changes:
            value = change["value"]
            if change["key"] == "file":
                assert value["encoding"] == "base64"
                files[value["path"]] = base64.b64decode(value["content"])
            elif change["key"] == "lfsFile":
                files[value["path"]] = self.objects[value["oid"]]
            else:
                assert change["key"] == "deletedFile"
                del files[value["path"]]
        commit = repo.commit(files, message=header["value"]["summary"])
        return answer.give({"commitUrl": f"{self.endpoint}/c/{commit}", "commitOid": commit})


class Handler(BaseHTTPRequestHandler):
    """Brings requests to the Hub, and sends its answers or as much of them as it is told to."""

    hub: Hub
    protocol_version = "HTTP/1.1"
    # else the kernel holds a body back until its headers are acknowledged, 40 ms later
    disable_nagle_algorithm = True

    def log_message(self, *arguments: Any) -> None:
        pass

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        well_again = self.hub.well_again
        answer = self.hub.answer(Request(self.command, self.path, self.headers, body))
        if answer.cut_at is None or answer.cut_at >= 0:
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                share = 1 if answer.cut_at is None else answer.cut_at
                self.write(answer.body[: int(len(answer.body) * share)])
        if answer.cut_at is None:
            return
        self.close_connection = True
        if answer.then == "reset":
            threading.Event().wait(0.05)  # for what was written to arrive
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            os.close(self.connection.detach())
        elif answer.then == "stall":
            well_again.wait(120)

    do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815

    def write(self, body: bytes) -> None:
        if self.hub.bytes_per_s == float("inf"):
            self.wfile.write(body)
            return
        for start in range(0, len(body), PIECE):
            self.wfile.write(body[start : start + PIECE])
            threading.Event().wait(PIECE / self.hub.bytes_per_s)

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:  # the client has gone: it was killed, or would not wait
            self.close_connection = True

    def finish(self) -> None:
        with suppress(OSError):
            super().finish()


@contextmanager
def serving() -> Iterator[Hub]:
    """A Hub that listens on loopback, in a thread."""
    hub = Hub()
    handler = type("HandlerOfOne", (Handler,), {"hub": hub})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        hub.endpoint = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield hub
        finally:
            hub.heal()
            server.shutdown()
            thread.join()
