"""A Hub on loopback that can be written to, and presets small enough to publish in no time.

It speaks what huggingface_hub sends when it makes a repository, uploads and commits.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, unquote

import keras
import yaml
from loopback_hub import git_blob_sha1, running

from dolg_zoo.models import DOLGConfig, DOLGNet
from dolg_zoo.preprocessing import ImageConverter

TOKEN = "hf_owner"
READER = "hf_reader"  # a token that may not write
LFS_SUFFIXES = (".h5", ".npz", ".png")
STATED = {
    "description": "A toy that finds nothing.",
    "dataset": "random numbers",
    "license": "CC0-1.0",
    "provenance": "Drawn at random for a test.",
}


@dataclass
class Repo:
    private: bool
    commits: list[tuple[str, dict[str, bytes]]] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)

    def commit(self, files, message):
        oid = hashlib.sha1(repr((len(self.commits), sorted(files.items()))).encode()).hexdigest()
        self.commits.append((oid, files))
        self.messages.append(message)
        return oid

    @property
    def head(self):
        return self.commits[-1]


@dataclass
class Hub:
    """What the server holds, the faults it is told to show, and what it was asked."""

    endpoint: str = ""
    repos: dict[str, Repo] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    parts: dict[tuple[str, int], bytes] = field(default_factory=dict)
    part_size: int | None = None  # objects larger than it are to be sent in parts
    # step ("create", "info", "preupload", "batch", "put", "commit"): status and message, "cut" to
    # hang up in the middle, "done and cut" to do it and hang up before the answer, or something to
    # call first
    faults: dict[str, object] = field(default_factory=dict)
    stored_wrong: set[str] = field(default_factory=set)  # files that a commit changes
    served_wrong: set[str] = field(default_factory=set)
    steps: list[str] = field(default_factory=list)

    def count(self, step):
        return self.steps.count(step)

    def files(self, repo):
        return self.repos[repo].head[1]


ROUTES = [
    ("POST", "create", r"/api/repos/create"),
    ("POST", "validate", r"/api/validate-yaml"),
    ("GET", "info", r"/api/models/(?P<repo>[^/]+/[^/]+?)(?:/revision/(?P<revision>[^/]+))?"),
    ("POST", "preupload", r"/api/models/(?P<repo>[^/]+/[^/]+)/preupload/main"),
    ("POST", "commit", r"/api/models/(?P<repo>[^/]+/[^/]+)/commit/main"),
    ("POST", "paths", r"/api/models/(?P<repo>[^/]+/[^/]+)/paths-info/(?P<revision>[^/]+)"),
    ("POST", "batch", r"/(?P<repo>[^/]+/[^/]+)\.git/info/lfs/objects/batch"),
    ("PUT", "put", r"/lfs/(?P<oid>[0-9a-f]{64})(?:/(?P<part>\d+))?"),
    ("POST", "complete", r"/lfs/(?P<oid>[0-9a-f]{64})/complete"),
    ("GET", "resolve", r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<name>[^/]+)"),
]
WRITES = ("create", "validate", "preupload", "commit", "batch")


def handler_for(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args):
            pass

        def handle_one(self):
            path = unquote(self.path.split("?")[0])
            method = "GET" if self.command == "HEAD" else self.command
            found = (
                (step, re.fullmatch(pattern, path))
                for wanted, step, pattern in ROUTES
                if wanted == method
            )
            step, match = next(((step, match) for step, match in found if match), (None, None))
            if match is None:
                return self.answer(400, {"error": f"no route {self.command} {path}"})
            hub.steps.append(step)
            fault = hub.faults.get(step)
            if fault == "cut":
                self.rfile.read(int(self.headers["Content-Length"] or 0) // 2)
                self.close_connection = True
                return None
            body = self.rfile.read(int(self.headers["Content-Length"] or 0))
            if callable(fault):
                fault()
            if isinstance(fault, tuple):
                return self.refuse(*fault)
            token = (self.headers["Authorization"] or "").removeprefix("Bearer ") or None
            if token not in (None, TOKEN, READER):
                return self.refuse(401, "Invalid credentials in Authorization header")
            if step in WRITES and token != TOKEN:
                return self.refuse(403, "Forbidden")
            where = match.groupdict()
            self.name = where.pop("repo", None)
            repo = hub.repos.get(self.name)
            if self.name and (repo is None or (repo.private and token != TOKEN)):
                return self.refuse(404, "Repository not found", "RepoNotFound")
            return getattr(self, f"on_{step}")(repo, body, **where)

        def answer(self, status, content, **headers):
            body = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def refuse(self, status, message, code=None):
            headers = {"X_Error_Message": message} | ({"X_Error_Code": code} if code else {})
            self.answer(status, {"error": message}, **headers)

        def on_create(self, _, body):
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            if asked["organization"] != "me":
                return self.refuse(403, "You have no right to create a model under this namespace")
            url = {"url": f"{hub.endpoint}/{name}"}
            if name in hub.repos:
                return self.answer(409, {"error": "You already created this model repo", **url})
            hub.repos[name] = Repo(private=asked["visibility"] == "private")
            hub.repos[name].commit({".gitattributes": b"*.h5 filter=lfs\n"}, "initial commit")
            return self.answer(200, url)

        def on_validate(self, _, body):
            header = json.loads(body)["content"].removeprefix("---\n").split("\n---\n")[0]
            try:
                yaml.safe_load(header)
            except yaml.YAMLError as error:
                return self.answer(400, {"errors": [{"message": str(error)}], "warnings": []})
            return self.answer(200, {"errors": [], "warnings": []})

        def on_info(self, repo, body, **_):
            oid, files = repo.head
            self.answer(
                200,
                {
                    "id": self.name,
                    "sha": oid,
                    "private": repo.private,
                    "siblings": [{"rfilename": name} for name in files],
                },
            )

        def on_preupload(self, repo, body, **_):
            files = []
            for file in json.loads(body)["files"]:
                assert len(base64.b64decode(file["sample"])) <= 512
                name, there = file["path"], repo.head[1].get(file["path"])
                is_lfs = name.endswith(LFS_SUFFIXES)
                answer = {"path": name, "uploadMode": "lfs" if is_lfs else "regular"}
                if there is not None:
                    answer["oid"] = (
                        hashlib.sha256(there).hexdigest() if is_lfs else git_blob_sha1(there)
                    )
                files.append({**answer, "shouldIgnore": False})
            self.answer(200, {"files": files})

        def on_batch(self, repo, body, **_):
            asked = json.loads(body)
            assert asked["operation"] == "upload" and "basic" in asked["transfers"]
            self.answer(200, {"objects": [self.upload(o) for o in asked["objects"]]})

        def upload(self, wanted):
            if wanted["oid"] in hub.objects:
                return wanted
            href = f"{hub.endpoint}/lfs/{wanted['oid']}"
            action = {"href": href}
            if hub.part_size and wanted["size"] > hub.part_size:
                parts = range(-(-wanted["size"] // hub.part_size))
                header = {str(part + 1): f"{href}/{part + 1}" for part in parts}
                header["chunk_size"] = str(hub.part_size)
                action = {"href": f"{href}/complete", "header": header}
            return {**wanted, "actions": {"upload": action}}

        def on_put(self, _, body, oid, part):
            if part:
                hub.parts[oid, int(part)] = body
                return self.answer(200, b"", ETag=f'"{part}"')
            return self.keep(oid, body)

        def on_complete(self, _, body, oid):
            numbers = [part["partNumber"] for part in json.loads(body)["parts"]]
            self.keep(oid, b"".join(hub.parts[oid, number] for number in numbers))

        def keep(self, oid, data):
            if hashlib.sha256(data).hexdigest() != oid:
                return self.refuse(400, "not the object that was announced")
            hub.objects[oid] = data
            return self.answer(200, b"")

        def on_commit(self, repo, body, **_):
            header, *changes = map(json.loads, body.splitlines())
            head, files = repo.head
            if header["value"].get("parentCommit", head) != head:
                return self.refuse(412, "A commit has happened since")
            files = dict(files)
            for change in changes:
                value = change["value"]
                if change["key"] == "file":
                    assert value["encoding"] == "base64"
                    files[value["path"]] = base64.b64decode(value["content"])
                elif change["key"] == "lfsFile":
                    files[value["path"]] = hub.objects[value["oid"]]
                else:
                    assert change["key"] == "deletedFile"
                    del files[value["path"]]
            for name in hub.stored_wrong & files.keys():
                files[name] += b" "
            oid = repo.commit(files, header["value"]["summary"])
            if hub.faults.get("commit") == "done and cut":
                self.close_connection = True
                return None
            return self.answer(200, {"commitUrl": f"{hub.endpoint}/c/{oid}", "commitOid": oid})

        def on_paths(self, repo, body, revision):
            files = dict(repo.commits)[revision]
            infos = []
            for name in parse_qs(body.decode())["paths"]:
                data = files[name]
                info = {"type": "file", "path": name, "size": len(data), "oid": git_blob_sha1(data)}
                if name.endswith(LFS_SUFFIXES):
                    sha256 = hashlib.sha256(data).hexdigest()
                    info["lfs"] = {"oid": sha256, "size": len(data), "pointerSize": 130}
                infos.append(info)
            self.answer(200, infos)

        def on_resolve(self, repo, body, revision, name, **_):
            found = [c for c in repo.commits if revision in ("main", c[0])]
            if not found:
                return self.refuse(404, "no such revision", "RevisionNotFound")
            oid, files = found[-1]
            if name not in files:
                return self.refuse(404, "no such file", "EntryNotFound")
            data = files[name]
            headers = {"X_Repo_Commit": oid, "Accept_Ranges": "bytes"}
            if name.endswith(LFS_SUFFIXES):
                etag = f'"{hashlib.sha256(data).hexdigest()}"'
                headers |= {"X_Linked_ETag": etag, "X_Linked_Size": str(len(data)), "ETag": etag}
            else:
                headers["ETag"] = f'"{git_blob_sha1(data)}"'
            if name in hub.served_wrong:
                data = data[:-1] + bytes([data[-1] ^ 1])
            return self.answer(200, data, **headers)

    for method in ("HEAD", "GET", "POST", "PUT"):
        setattr(Handler, f"do_{method}", Handler.handle_one)
    return Handler


@contextmanager
def serving():
    hub = Hub()
    with running(handler_for(hub)) as hub.endpoint:
        yield hub


def log_in(hub, tmp_path, monkeypatch):
    """Makes this process a client of the server, with the owner's token.

    huggingface_hub looks these constants up whenever it needs them.
    """
    from huggingface_hub import constants
    from huggingface_hub.utils import close_session

    template = hub.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    # the client waits for seconds between its attempts; a loopback server needs no rest
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    close_session()


def small_model(**metadata):
    """A model over a backbone of its own, with random weights."""
    from dolg_zoo import DOLG

    keras.utils.set_random_seed(1)
    images = keras.Input((None, None, 3))
    local = keras.layers.Conv2D(5, 3, strides=4, padding="same", activation="relu")(images)
    top = keras.layers.Conv2D(7, 3, strides=2, padding="same", activation="relu")(local)
    half = (0.5, 0.5, 0.5)
    config = DOLGConfig(hidden_dim=8, descriptor_dim=6, dilation_rates=(), mean=half, std=half)
    net = DOLGNet(keras.Model(images, [local, top]), config=config)
    return DOLG(net, ImageConverter(size=32), metadata)
