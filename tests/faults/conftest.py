"""A real Hub server on loopback, and before it a proxy that breaks what a test tells it to."""

from __future__ import annotations

import copy
import hashlib
import http.client
import importlib.util
import itertools
import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from loopback_hub import running

from dolg_zoo.weights.manifest import PRESET_FILES, FileHash, HubSource, PresetEntry

REPO = "someone/their-dolg"
LFS_SUFFIXES = (".h5", ".npz", ".pyth")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Repository:
    """A git repository in which large files are pointers, as git-lfs would have them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.commits: dict[str, dict[str, bytes]] = {}
        folder.mkdir(parents=True)
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *arguments: str) -> str:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "GIT_CONFIG_NOSYSTEM": "1",
            **{f"GIT_{role}_NAME": "test" for role in ("AUTHOR", "COMMITTER")},
            **{f"GIT_{role}_EMAIL": "test@localhost" for role in ("AUTHOR", "COMMITTER")},
        }
        done = subprocess.run(
            ["git", *arguments],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    def commit(self, files: dict[str, bytes], branch: str = "main") -> str:
        """Make a commit that holds these files and no others; return its hash."""
        self.git("checkout", "--quiet", "-B", branch)
        for name in self.git("ls-files").split():
            (self.folder / name).unlink()
        for name, data in files.items():
            large = name.endswith(LFS_SUFFIXES)
            (self.folder / name).write_bytes(self.pointer(data) if large else data)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", "a commit")
        commit = self.git("rev-parse", "HEAD")
        self.commits[commit] = files
        return commit

    def pointer(self, data: bytes) -> bytes:
        sha256 = hashlib.sha256(data).hexdigest()
        target = self.folder / ".git/lfs/objects" / sha256[:2] / sha256[2:4] / sha256
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        version = "version https://git-lfs.github.com/spec/v1"
        return f"{version}\noid sha256:{sha256}\nsize {len(data)}\n".encode()


@dataclass
class Hub:
    """The server: where it listens, and the repositories it shows."""

    port: int
    mirror: Path
    repositories: dict[str, Repository] = field(default_factory=dict)

    @property
    def commits(self) -> int:
        """How many there are in all."""
        return sum(len(repository.commits) for repository in self.repositories.values())

    def repository(self, name: str) -> Repository:
        """The repository of that name, made at the first call.

        A module's fixtures are set up once more when pytest-xdist moves its tests in two parts.
        """
        if name not in self.repositories:
            self.repositories[name] = Repository(self.mirror / "models" / name)
        return self.repositories[name]


@pytest.fixture(scope="session")
def hub(tmp_path_factory) -> Iterator[Hub]:
    if importlib.util.find_spec("olah") is None:
        pytest.skip("needs olah, of the extra `test`")
    if shutil.which("git") is None:
        pytest.skip("needs git")
    home = tmp_path_factory.mktemp("olah")
    hub = Hub(free_port(), home / "mirror")
    (home / "olah.toml").write_text(
        f'[basic]\nhost = "127.0.0.1"\nport = {hub.port}\nrepos-path = "{home / "repos"}"\n'
        f'mirrors-path = ["{hub.mirror}"]\n[accessibility]\noffline = true\n'
    )
    with (home / "output").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "olah.server", "--config", "olah.toml", "--log-path", "logs"],
            cwd=home,
            env={**os.environ, "HOME": str(home), "HF_HOME": str(home)},
            stdout=output,
            stderr=output,
        )
    try:
        wait_for(hub.port, process, home / "output")
        yield hub
    finally:
        process.kill()
        process.wait()


def wait_for(port: int, process: subprocess.Popen, output: Path) -> None:
    for _ in range(600):
        assert process.poll() is None, output.read_text()
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        threading.Event().wait(0.05)
    raise TimeoutError(output.read_text())


@dataclass
class Answer:
    """What the server answered, for a fault to change, and how it is to be sent."""

    method: str
    url: str
    status: int
    headers: http.client.HTTPMessage
    body: bytes
    outside: str = ""  # a path that no answer may have anything written to
    struck: int = 0  # how many answers were changed, with this one
    # Send this share of the body, then `reset`, `stall` or hang up; below 0: not even the headers.
    cut_at: float | None = None
    then: str = ""

    def set(self, name: str, value: str | None) -> None:
        del self.headers[name]
        if value is not None:
            self.headers[name] = value


@dataclass
class Fault:
    """A change to the answers to some requests.

    Attributes:
        change: makes the answer wrong.
        file: only of requests for it, and of questions about hashes (POST); None for all.
        methods: only of these.
        times: how often, before the server is well again.
        struck: how often it happened.
    """

    change: Callable[[Answer], None]
    file: str | None
    methods: tuple[str, ...]
    times: float
    outside: str
    struck: int = 0

    def strikes(self, method: str, name: str) -> bool:
        meant = method in self.methods and (self.file in (None, name) or method == "POST")
        if meant and self.struck < self.times:
            self.struck += 1
            return True
        return False


@dataclass
class Proxy:
    """What stands between the client and the Hub."""

    hub: Hub
    endpoint: str = ""
    fault: Fault | None = None
    bytes_per_s: float = float("inf")
    requests: list[tuple[str, str]] = field(default_factory=list)  # method, file
    answers: dict[tuple[int, str, str, bytes], Answer] = field(default_factory=dict)
    well_again: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def break_down(
        self,
        change: Callable[[Answer], None],
        file: str | None,
        methods: tuple[str, ...],
        times: float,
        outside: Path,
    ) -> None:
        self.fault = Fault(change, file, methods, times, str(outside))

    def heal(self) -> None:
        """Take the fault away, and let go of those whom it keeps waiting."""
        self.fault = None
        self.bytes_per_s = float("inf")
        self.well_again.set()
        self.well_again = threading.Event()

    def ask_hub(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Answer:
        """What the Hub answers; until the next commit but once: olah takes its time for each."""
        key = (self.hub.commits, method, path, body)
        if key not in self.answers:
            self.answers[key] = self.ask_anew(method, path, body, headers)
        return copy.deepcopy(self.answers[key])

    def ask_anew(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Answer:
        hub = http.client.HTTPConnection("127.0.0.1", self.hub.port, timeout=30)
        hub.request(method, path, body, headers)
        response = hub.getresponse()
        answer = Answer(
            method, self.endpoint + path, response.status, response.headers, response.read()
        )
        hub.close()
        for name in ("Transfer-Encoding", "Date", "Server"):
            answer.set(name, None)
        if method != "HEAD":
            answer.set("Content-Length", str(len(answer.body)))
        return answer


def handler_for(proxy: Proxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args) -> None:
            pass

        def do_HEAD(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            name = urlsplit(self.path).path.rpartition("/")[2]
            kind = self.headers.get("Content-Type", "text/plain")
            answer = proxy.ask_hub(self.command, self.path, body, {"Content-Type": kind})
            if self.headers["Range"] and answer.status == 200:
                start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
                size = len(answer.body)
                answer.status, answer.body = 206, answer.body[start:]
                answer.set("Content-Length", str(size - start))
                answer.set("Content-Range", f"bytes {start}-{size - 1}/{size}")
            with proxy.lock:
                proxy.requests.append((self.command, name))
                if proxy.fault and proxy.fault.strikes(self.command, name):
                    answer.outside, answer.struck = proxy.fault.outside, proxy.fault.struck
                    proxy.fault.change(answer)
            self.send(answer)

        do_GET = do_POST = do_HEAD  # noqa: N815

        def send(self, answer: Answer) -> None:
            well_again = proxy.well_again
            if answer.cut_at is None or answer.cut_at >= 0:
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                size = len(answer.body)
                end = size if answer.cut_at is None else int(size * answer.cut_at)
                if answer.method != "HEAD":
                    self.write(answer.body[:end])
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

        def write(self, body: bytes) -> None:
            if proxy.bytes_per_s == float("inf"):
                self.wfile.write(body)
                return
            piece = 1 << 14
            for start in range(0, len(body), piece):
                self.wfile.write(body[start : start + piece])
                threading.Event().wait(piece / proxy.bytes_per_s)

        def handle(self) -> None:
            try:
                super().handle()
            except OSError:  # the client has gone: it was killed, or would not wait
                self.close_connection = True

        def finish(self) -> None:
            with suppress(OSError):
                super().finish()

    return Handler


@pytest.fixture(scope="session")
def running_proxy(hub: Hub) -> Iterator[Proxy]:
    proxy = Proxy(hub)
    with running(handler_for(proxy)) as proxy.endpoint:
        yield proxy
        proxy.heal()


@pytest.fixture
def proxy(running_proxy: Proxy) -> Iterator[Proxy]:
    running_proxy.heal()
    running_proxy.requests.clear()
    yield running_proxy
    running_proxy.heal()


@pytest.fixture(scope="session")
def new_entry() -> Callable[..., PresetEntry]:
    return pinned_entry


def pinned_entry(name: str, repo: str, commit: str, files: dict[str, bytes]) -> PresetEntry:
    """The manifest's entry of a preset on the Hub."""
    hashes = {
        path: FileHash(len(files[path]), hashlib.sha256(files[path]).hexdigest())
        for path in PRESET_FILES
    }
    return PresetEntry(
        name=name,
        description="a preset of the tests",
        architecture="two_convolutions",
        descriptor_dim=64,
        dataset="none",
        source=HubSource(repo, commit),
        files=hashes,
        license="CC0-1.0",
        license_note="",
        provenance="random weights",
        figures=(),
        figures_note="",
    )


@dataclass
class Cache:
    """A Hub cache of one test, in a folder of its own so that what lands beside it is seen."""

    around: Path
    repository: Repository

    @property
    def folder(self) -> Path:
        return self.around / "home" / "deep" / "hub"

    @property
    def outside(self) -> Path:
        """Beside the cache: nothing may be written there."""
        return self.around / "outside"

    def wrong_files(self) -> list[str]:
        """The files under their names in the cache that are not those of the repository."""
        return [
            str(path)
            for path in self.folder.glob("models--*/snapshots/*/**/*")
            if not path.is_dir() and not self.is_right(path)
        ]

    def is_right(self, path: Path) -> bool:
        commit = path.relative_to(self.folder).parts[2]
        truth = self.repository.commits.get(commit, {}).get(path.name)
        return path.is_file() and path.read_bytes() == truth

    def strays(self) -> list[str]:
        """What was written beside the cache."""
        return [
            str(path)
            for path in self.around.rglob("*")
            if not path.is_relative_to(self.folder) and path not in self.folder.parents
        ]


@pytest.fixture
def new_cache(tmp_path) -> Callable[[Repository], Cache]:
    numbers = itertools.count()

    def make(repository: Repository) -> Cache:
        cache = Cache(tmp_path / f"around-{next(numbers)}", repository)
        cache.folder.mkdir(parents=True)
        return cache

    return make


@dataclass
class Table:
    """What happened at each fault."""

    rows: list[tuple[str, str, str, int, float]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def add(self, fault: str, asked: str, happened: str, struck: int, seconds: float) -> None:
        row = (fault, asked, happened, struck, seconds)
        if not self.rows or self.rows[-1][:3] != row[:3]:  # else another process of many
            self.rows.append(row)

    def show(self) -> None:
        print(f"\n{'fault':<58} {'asked for':<10} {'struck':>6} {'seconds':>8}  what happened")
        for fault, asked, happened, struck, seconds in self.rows:
            print(f"{fault:<58} {asked:<10} {struck:>6} {seconds:>8.1f}  {happened}")
        print(f"{len(self.rows)} faults tried, {len(self.wrong)} wrong or torn results")


@pytest.fixture(scope="module")
def table() -> Iterator[Table]:
    table = Table()
    yield table
    table.show()


@pytest.fixture(scope="module")
def real_times() -> bool:
    """Whether the pauses and time limits of the Hub client are left as they are."""
    return os.environ.get("DOLG_ZOO_REAL_TIMES") == "1"


@pytest.fixture
def pauses(monkeypatch, real_times) -> list[float]:
    """What the client would have slept for; cut short unless times are to be real."""
    asked, sleep = [], time.sleep

    def brief(seconds: float) -> None:
        # even for real times nobody is to wait for an hour
        taken = seconds if real_times and seconds <= 60 else min(seconds * 0.01, 0.02)
        asked.append(seconds - taken)
        sleep(taken)

    monkeypatch.setattr(time, "sleep", brief)
    return asked
