"""`DOLG.from_preset` from a Hub that shows one fault at a time.

Whatever the fault, the call gives the right descriptors, bit for bit, or one clear error; and once
the fault is gone, the same call on the same cache gives the right descriptors.

`python -m pytest tests/faults -n0 -s` prints what happened at each fault. The Hub client's pauses
are cut short, and added to the seconds shown; DOLG_ZOO_REAL_TIMES=1 leaves them as they are, and
its time limits too.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import logging
import math
import pickle
import re
import ssl
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from fake_hub import cut, flip, flipped, header, sha256_of, status
from hub_client import talk_to
from huggingface_hub import constants, file_download
from huggingface_hub.utils import close_session
from keras import layers
from read_once import reading_each_preset_once

from dolg_zoo import DOLG
from dolg_zoo.models import DOLGConfig, DOLGNet
from dolg_zoo.preprocessing import ImageConverter
from dolg_zoo.presets import Preset, PresetError, registry, resolve_preset, write_preset
from dolg_zoo.weights import (
    ChecksumError,
    DownloadError,
    Manifest,
    UnreachableError,
    WeightsError,
)
from dolg_zoo.weights.manifest import FileHash

NAME = "two_convolutions_test"
REPO = "someone/their-dolg"
CONFIG, WEIGHTS = "config.json", "model.weights.h5"
IMAGES = np.random.default_rng(0).integers(0, 256, (2, 48, 40, 3), dtype="uint8")
ALWAYS = math.inf
KINDS = ("pinned", "branch", "commit")
PATIENCE_S = 120  # the longest that any call may keep its user waiting
OTHER_HASH = hashlib.sha256(b"another file").hexdigest()
OTHER_COMMIT = "0123456789abcdef" * 2 + "01234567"
HTML = b"<!DOCTYPE html><title>Log in to this network</title>"


# What a call is to end in: RIGHT, or an error with these words, of which {sha256}, {size} and
# {commit} stand for those of the file.
@dataclass(frozen=True)
class Refused:
    error: type[Exception]
    words: tuple[str, ...] = ()

    def __str__(self):
        return self.error.__name__


RIGHT, EITHER = "the right descriptors", "either"


@dataclass(frozen=True)
class Case:
    name: str
    change: Callable[[object], None]
    ends: object
    kind: str = "pinned"
    file: str = WEIGHTS
    methods: tuple[str, ...] = ("HEAD", "GET")
    times: float = ALWAYS


def resized(by):
    """State another length than that of the bytes that come."""

    def change(answer):
        answer.set("Content-Length", str(int(answer.headers["Content-Length"]) + by))
        answer.cut_at = 1.0  # and hang up, or the client would wait for the rest

    return change


def html(answer):
    """As a portal of a hotel answers."""
    status(200, Content_Type="text/html", Content_Length=str(len(HTML)))(answer)
    answer.body = HTML


def weaken(answer):
    answer.set("ETag", f"W/{answer.headers['ETag']}")


def flip_under_no_hash(answer):
    flip(answer)
    answer.set("ETag", '"17-abc"')


def to_cdn(answer):
    """As the Hub itself answers for a large file: it lies on another host."""
    if "cdn" in answer.url:
        return
    stated = {
        "X-Linked-Etag": answer.headers["ETag"],
        "X-Linked-Size": answer.headers["Content-Length"],
    }
    location = answer.url.replace("127.0.0.1", "localhost") + "?cdn"
    for name, value in {**stated, "Location": location, "Content-Length": "0"}.items():
        answer.set(name, value)
    answer.status, answer.body = 302, b""


def to_dead_cdn(answer):
    to_cdn(answer)
    answer.set("Location", "http://localhost:9/gone")


def to_itself(answer):
    status(302, Location=answer.url)(answer)


def no_hash_stated(paths_info):
    """An etag that is no hash; the Hub is then asked for the hash, and answers with a fault."""

    def change(answer):
        if answer.method == "POST":
            paths_info(answer)
        else:
            answer.set("ETag", '"17-abc"')

    return change


def empty_list(answer):
    answer.body = b"[]"
    answer.set("Content-Length", "2")


GIVES_UP = Refused(UnreachableError)
TORN = Refused(DownloadError)
BYTES = ("GET",)
HOUR = {"Retry_After": "3600"}

# A fault that strikes each kind of name alike is tried with one of them, now this, now that.
CASES = [
    *(Case("none", lambda answer: None, RIGHT, kind) for kind in KINDS),
    # statuses
    Case("404", status(404), Refused(DownloadError, ("404",))),
    Case("404, no such file", status(404, X_Error_Code="EntryNotFound"), TORN, "branch"),
    Case("401", status(401), Refused(DownloadError, ("401", "HF_TOKEN")), "branch"),
    Case("403, gated", status(403, X_Error_Code="GatedRepo"), Refused(DownloadError, ("gated",))),
    Case("429 with Retry-After, once", status(429, Retry_After="2"), RIGHT, "commit", times=1),
    Case("429, always", status(429, Retry_After="2"), Refused(UnreachableError, ("429",))),
    Case("429 for an hour", status(429, **HOUR), Refused(UnreachableError, ("3600",)), "branch"),
    Case(
        "429 for an hour, from the second time on",
        lambda answer: status(429, Retry_After="3600" if answer.struck > 1 else "1")(answer),
        Refused(UnreachableError, ("429",)),
    ),
    Case("503, once", status(503), RIGHT, times=1),
    Case("503, always", status(503), Refused(UnreachableError, ("503",)), "branch"),
    Case("503 for the bytes", status(503), Refused(UnreachableError, ("503",)), methods=BYTES),
    # the connection breaks
    Case("reset before the headers, once", cut(-1, "reset"), EITHER, methods=("HEAD",), times=1),
    Case("reset before the headers", cut(-1, "reset"), GIVES_UP, "branch", methods=("HEAD",)),
    Case("reset at 50 %, once", cut(0.5, "reset"), EITHER, methods=BYTES, times=1),
    Case("reset at 50 %, always", cut(0.5, "reset"), TORN, "branch", methods=BYTES),
    Case("hung up at 50 %, once", cut(0.5, ""), RIGHT, methods=BYTES, times=1),
    Case("stall before the headers", cut(-1, "stall"), GIVES_UP, "branch", methods=("HEAD",)),
    Case("stall after the headers, always", cut(0, "stall"), GIVES_UP, methods=BYTES),
    Case("stall at 50 %, once", cut(0.5, "stall"), RIGHT, methods=BYTES, times=1),
    # lengths
    Case("Content-Length 100 too long", resized(100), EITHER, methods=BYTES),
    Case("size stated 100 too long", resized(100), Refused(ChecksumError, ("{size}",))),
    Case("size stated 100 too long", resized(100), Refused(WeightsError), "branch"),
    Case("size not stated", header("Content-Length", None), EITHER, methods=("HEAD",)),
    # bytes
    Case("a wrong byte, once", flip, RIGHT, "commit", methods=BYTES, times=1),
    *(
        Case(
            "a wrong byte, always",
            flip,
            Refused(ChecksumError, ("expected {sha256}", "{flipped}")),
            kind,
            methods=BYTES,
        )
        for kind in KINDS
    ),
    Case("a wrong byte in config.json, once", flip, RIGHT, "branch", CONFIG, BYTES, times=1),
    Case("a wrong byte in config.json", flip, Refused(ChecksumError), "pinned", CONFIG, BYTES),
    Case("HTML for the bytes", html, Refused(DownloadError, ("{size}",)), methods=BYTES),
    Case("HTML for everything", html, TORN, "branch", ""),
    # etags
    Case(
        "etag of another file",
        header("ETag", f'"{OTHER_HASH}"'),
        Refused(ChecksumError, (f"sha256 {OTHER_HASH}", "expected {sha256}")),
    ),
    Case(
        "etag of another file",
        header("ETag", f'"{OTHER_HASH}"'),
        Refused(ChecksumError, ("{sha256}", f"expected {OTHER_HASH}")),
        "branch",
    ),
    Case("etag is no hash", header("ETag", '"17-abc"'), RIGHT, "commit"),
    Case("etag is weak", weaken, RIGHT, "branch"),
    Case(
        "etag ../../../../x of config.json",
        header("ETag", '"../../../../x"'),
        Refused(DownloadError, ("ETag",)),
        "branch",
        CONFIG,
    ),
    Case("etag an absolute path", header("ETag", '"{outside}"'), Refused(DownloadError, ("ETag",))),
    Case(
        "etag of the large file an absolute path",
        header("X-Linked-Etag", '"{outside}"'),
        Refused(DownloadError, ("X-Linked-Etag",)),
        "branch",
    ),
    Case("etag missing", header("ETag", None), Refused(DownloadError, ("ETag",))),
    Case(
        "etag is no hash, the bytes wrong",
        flip_under_no_hash,
        Refused(ChecksumError, ("expected {sha256}", "{flipped}")),
        "branch",
    ),
    *(
        Case(
            f"etag is no hash, and where asked for it: {name}",
            no_hash_stated(fault),
            TORN,
            kind,
            methods=("HEAD", "POST"),
        )
        for name, fault, kind in (
            ("404", status(404), "branch"),
            ("503", status(503), "commit"),
            ("an empty list", empty_list, "branch"),
        )
    ),
    # commits
    Case(
        "X-Repo-Commit missing",
        header("X-Repo-Commit", None),
        Refused(DownloadError, ("None", "expected {commit}")),
    ),
    Case(
        "X-Repo-Commit another",
        header("X-Repo-Commit", OTHER_COMMIT),
        Refused(DownloadError, (OTHER_COMMIT, "expected {commit}")),
        "branch",
    ),
    Case(
        "X-Repo-Commit of config.json no hash",
        header("X-Repo-Commit", "latest"),
        Refused(DownloadError, ("server answered with commit 'latest'", "expected")),
        "branch",
        CONFIG,
    ),
    Case(
        "X-Repo-Commit of config.json an absolute path",
        header("X-Repo-Commit", "{outside}"),
        Refused(DownloadError, ("X-Repo-Commit",)),
        "pinned",
        CONFIG,
    ),
    # redirects
    Case("the bytes on another host", to_cdn, RIGHT, "branch", methods=("HEAD",)),
    Case("the bytes on another host that is down", to_dead_cdn, GIVES_UP, methods=("HEAD",)),
    Case("a redirect loop", to_itself, TORN, "branch"),
]
SLOW = {case.name for case in CASES if "stall" in case.name or "second time" in case.name}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A preset of two convolutions, of half a megabyte."""
    keras.utils.set_random_seed(1)
    images = keras.Input((None, None, 3))
    local = layers.Conv2D(32, 3, strides=4, padding="same", activation="relu")(images)
    global_ = layers.Conv2D(256, 3, strides=2, padding="same", activation="relu")(local)
    small = {"hidden_dim": 128, "descriptor_dim": 64, "dilation_rates": ()}
    config = DOLGConfig(**small, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2))
    net = DOLGNet(keras.Model(images, [local, global_]), config=config)
    folder = tmp_path_factory.mktemp("preset")
    write_preset(folder, Preset(net, ImageConverter(size=32), {"name": NAME}))
    return folder


@pytest.fixture(scope="module", autouse=True)
def each_preset_read_once():
    """What a fault may change is which bytes come to be read."""
    with reading_each_preset_once():
        yield


@pytest.fixture(scope="module", autouse=True)
def certificates_read_once():
    """Each new client reads them, though the server speaks plain HTTP."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ssl, "create_default_context", functools.cache(ssl.create_default_context))
        yield


@pytest.fixture(scope="module")
def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def right_descriptors(folder):
    return np.asarray(DOLG.from_preset(folder)(IMAGES))


@pytest.fixture(scope="module")
def commit(module_hub, files):
    return module_hub.commit(REPO, files)


@pytest.fixture
def at_endpoint(cache, monkeypatch):
    """Has the client of this process talk to another server."""
    return lambda endpoint: talk_to(endpoint, cache.folder, monkeypatch)


@pytest.fixture
def cache(new_cache, hub, commit, monkeypatch):
    cache = new_cache(hub.repos[REPO])
    talk_to(hub.endpoint, cache.folder, monkeypatch)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    # pieces that are small against the file, or nothing would ever be resumed
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1 << 14)
    yield cache
    close_session()


@pytest.fixture
def impatient(monkeypatch, real_times):
    """Has the client wait for a stalled server for less than its ten seconds."""
    if not real_times:
        for name in ("HF_HUB_ETAG_TIMEOUT", "HF_HUB_DOWNLOAD_TIMEOUT"):
            monkeypatch.setattr(constants, name, 0.6)
        monkeypatch.setattr(file_download, "_ETAG_RETRY_TIMEOUT", 0.6)


@dataclass
class Outcome:
    seconds: float
    descriptors: np.ndarray | None = None
    error: Exception | None = None

    def __str__(self):
        if self.error is None:
            return RIGHT
        return f"{type(self.error).__name__}: {re.sub('[0-9a-f]{40,}', '…', str(self.error))}"


@dataclass
class Trial:
    """One user's calls on one cache, before, during and after a fault."""

    kind: str
    name: str
    entry: object
    manifest: Callable[[object], None]
    cache: object
    pauses: list[float]
    right: np.ndarray
    commit: str
    table: object
    hub: object
    offline: Callable[[bool], None]

    def breaks(self, *fault, **when):
        return self.hub.breaks(*fault, outside=str(self.cache.outside), **when)

    def ask(self) -> Outcome:
        self.pauses.clear()
        start = time.perf_counter()
        try:
            descriptors = np.asarray(DOLG.from_preset(self.name)(IMAGES))
        except Exception as error:
            return Outcome(time.perf_counter() - start + sum(self.pauses), error=error)
        return Outcome(time.perf_counter() - start + sum(self.pauses), descriptors)

    def ask_offline(self) -> Outcome:
        self.offline(True)
        outcome = self.ask()
        self.offline(False)
        return outcome

    def record(self, fault: str, outcome: Outcome, struck: int) -> None:
        """Put it into the table, and refuse what no fault may ever lead to."""
        self.table.add(fault, self.kind, str(outcome), struck, outcome.seconds)
        wrong = [*self.cache.wrong_files(), *self.cache.strays()]
        if outcome.error is None and not np.array_equal(outcome.descriptors, self.right):
            wrong.append("the descriptors")
        if wrong:
            self.table.wrong.append(f"{fault}, {self.kind}: {wrong}")
        assert wrong == []

    def check(self, outcome: Outcome, ends: object, file: str | None) -> None:
        assert outcome.seconds < PATIENCE_S
        if ends == EITHER:
            ends = RIGHT if outcome.error is None else Refused(WeightsError)
        if ends == RIGHT:
            if outcome.error is not None:
                raise AssertionError("no descriptors") from outcome.error
            return
        assert outcome.error is not None, f"descriptors, where {ends} was due"
        if not isinstance(outcome.error, (WeightsError, PresetError)):
            raise AssertionError("a raw exception") from outcome.error
        self.check_clear(outcome.error, ends, file)

    def check_clear(self, error: Exception, ends: Refused, file: str | None) -> None:
        """The error is one that names the preset, the file, and what is wrong with it."""
        message = str(error)
        weights = self.entry.files[WEIGHTS]
        assert isinstance(error, ends.error), message
        assert (NAME if self.kind == "pinned" else f"hf://{REPO}") in message
        assert (file or CONFIG) in message
        known = {"sha256": weights.sha256, "size": weights.size, "commit": self.commit}
        flipped = self.flipped_sha256
        for word in ends.words:
            assert word.format(**known, flipped=flipped) in message

    @property
    def flipped_sha256(self) -> str:
        return sha256_of(flipped(self.cache.repository.commits[self.commit][WEIGHTS]))

    def check_right_now(self) -> None:
        """With the fault gone, the same cache gives what is right, and then offline too."""
        outcome = self.ask()
        assert outcome.error is None, outcome.error
        assert np.array_equal(outcome.descriptors, self.right)
        self.offline(True)
        try:
            resolve_preset(self.name)
        except DownloadError as error:
            # what came with no hash beside it is not believed
            assert self.kind != "pinned" and "cannot be verified offline" in str(error)
        self.offline(False)
        assert self.cache.wrong_files() == []


@pytest.fixture
def trial(
    cache, hub, commit, files, new_entry, pauses, right_descriptors, table, monkeypatch, caplog
):
    caplog.set_level(logging.CRITICAL, "huggingface_hub")
    entry = new_entry(NAME, REPO, commit, files)

    def use_manifest(entry):
        manifest = Manifest({NAME: entry}, {})
        monkeypatch.setattr(registry, "load_manifest", lambda: manifest)

    def set_offline(value):
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", value)

    def start(kind):
        name = {"pinned": NAME, "branch": f"hf://{REPO}", "commit": f"hf://{REPO}@{commit}"}[kind]
        common = (kind, name, entry, use_manifest, cache, pauses, right_descriptors)
        return Trial(*common, commit, table, hub, set_offline)

    use_manifest(entry)
    return start


EACH = [
    pytest.param(
        case,
        id=f"{case.name}-{case.kind}",
        marks=[pytest.mark.slow] if case.name in SLOW else [],
    )
    for case in CASES
]


@pytest.mark.parametrize("case", EACH)
def test_a_fault_of_the_server(case, trial, hub, request):
    if case.name.startswith("stall"):
        request.getfixturevalue("impatient")
    trial = trial(case.kind)
    fault = trial.breaks(case.change, case.file, methods=case.methods, times=case.times)
    outcome = trial.ask()
    struck = fault.struck
    hub.heal()
    trial.record(case.name, outcome, struck)
    assert struck > 0
    trial.check(outcome, case.ends, case.file)
    if outcome.error is not None:
        left = trial.ask_offline()
        assert isinstance(left.error, WeightsError), f"from a cache left torn: {left}"
    trial.check_right_now()


def test_a_path_as_etag_is_refused_after_the_client_has_reconnected(trial, hub, monkeypatch):
    def change(answer):
        fault = status(503) if answer.struck <= 2 else header("ETag", '"{outside}"')
        fault(answer)

    trial = trial("pinned")
    # huggingface_hub does that between its attempts when a connection is refused
    monkeypatch.setattr(time, "sleep", lambda seconds: close_session())
    fault = trial.breaks(change, WEIGHTS, methods=("HEAD",))
    outcome = trial.ask()
    struck = fault.struck
    hub.heal()
    trial.record("etag an absolute path, after 503 twice", outcome, struck)
    trial.check(outcome, Refused(DownloadError, ("ETag",)), WEIGHTS)
    trial.check_right_now()


NO_SERVER = {
    "connection refused": ("http://127.0.0.1:9", "refused"),
    "DNS failure": ("http://no-such-host.invalid", "no-such-host.invalid"),
}


@pytest.mark.parametrize(
    ("fault", "kind"), [("connection refused", "pinned"), ("DNS failure", "branch")]
)
def test_no_server_at_all(fault, kind, trial, at_endpoint, hub):
    trial = trial(kind)
    endpoint, word = NO_SERVER[fault]
    at_endpoint(endpoint)
    outcome = trial.ask()
    trial.record(fault, outcome, 1)
    trial.check(outcome, Refused(UnreachableError, (word, endpoint)), CONFIG)
    assert outcome.seconds < 5
    at_endpoint(hub.endpoint)
    trial.check_right_now()


@pytest.mark.parametrize(
    ("fault", "kind"), [("connection refused", "branch"), ("DNS failure", "pinned")]
)
def test_what_is_in_the_cache_needs_no_server(fault, kind, trial, at_endpoint):
    trial = trial(kind)
    trial.ask()
    at_endpoint(NO_SERVER[fault][0])
    outcome = trial.ask()
    trial.record(f"{fault}, with all in the cache", outcome, 1)
    trial.check(outcome, RIGHT, CONFIG)
    assert outcome.seconds < 5


@pytest.mark.parametrize("change", [status(500), cut(-1, "stall")], ids=["500", "stall"])
def test_what_is_in_the_cache_outlives_the_server(change, trial, hub, impatient):
    trial = trial("branch")
    trial.ask()
    fault = trial.breaks(change, methods=("HEAD", "GET"))
    outcome = trial.ask()
    trial.record("a server that fails, with all in the cache", outcome, fault.struck)
    trial.check(outcome, RIGHT, CONFIG)


def test_a_commit_that_lacks_a_file_is_told_from_a_fault_of_the_line(trial, hub, files):
    trial = trial("branch")
    lacking = hub.commit(REPO, {name: files[name] for name in (CONFIG, WEIGHTS)}, "lacking")
    trial = replace(trial, name=f"hf://{REPO}@{lacking}")
    outcome = trial.ask()
    trial.record("a repository without preprocessor.json", outcome, 1)
    trial.check(outcome, Refused(DownloadError, (lacking,)), "preprocessor.json")


def flip_in(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


def empty(path):
    path.write_bytes(b"")


def lose(path):
    path.resolve().unlink()


def lead_astray(path):
    """The name in the cache is a link to a file elsewhere, which is as long."""
    data = path.read_bytes()
    path.unlink()
    elsewhere = path.parents[2] / "elsewhere"
    elsewhere.write_bytes(data[::-1])
    path.symlink_to(elsewhere)


DAMAGES = [
    (flip_in, CONFIG, "pinned"),
    (truncate, WEIGHTS, "pinned"),
    (empty, CONFIG, "branch"),
    (lose, WEIGHTS, "branch"),
    (lead_astray, CONFIG, "pinned"),
]


@pytest.mark.parametrize(("damage", "file", "kind"), DAMAGES)
def test_a_damaged_cache_is_healed_online_and_refused_offline(damage, file, kind, trial, hub):
    trial = trial(kind)
    trial.ask()
    snapshots = trial.cache.folder / f"models--{REPO.replace('/', '--')}" / "snapshots"
    path = snapshots / trial.commit / file
    damage(path)
    outcome = trial.ask_offline()
    trial.table.add(f"{damage.__name__}: {file}, offline", kind, str(outcome), 1, outcome.seconds)
    trial.check(outcome, Refused(WeightsError, ("HF_HUB_OFFLINE",)), file)
    outcome = trial.ask()
    trial.record(f"{damage.__name__}: {file}", outcome, 1)
    trial.check(outcome, RIGHT, file)
    trial.check_right_now()


def test_a_damaged_cache_without_a_server_is_refused(trial, hub):
    trial = trial("pinned")
    trial.ask()
    path = trial.cache.folder / f"models--{REPO.replace('/', '--')}/snapshots/{trial.commit}"
    flip_in(path / WEIGHTS)
    trial.breaks(status(503))
    outcome = trial.ask()
    trial.table.add("a byte flipped, and 503", "pinned", str(outcome), 1, outcome.seconds)
    trial.check(outcome, Refused(WeightsError), WEIGHTS)
    hub.heal()
    trial.check_right_now()


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("file", [CONFIG, WEIGHTS])
def test_a_manifest_with_a_wrong_hash(file, warm, trial, hub):
    trial = trial("pinned")
    if warm:
        trial.ask()
    right = trial.entry.files[file]
    wrong = replace(
        trial.entry, files={**trial.entry.files, file: FileHash(right.size, OTHER_HASH)}
    )
    trial.manifest(wrong)
    hub.requests.clear()
    outcome = trial.ask()
    fault = f"a manifest with a wrong hash of {file}" + (", with all in the cache" if warm else "")
    trial.record(fault, outcome, 1)
    words = (f"expected {OTHER_HASH}", right.sha256)
    trial.check(outcome, Refused(ChecksumError, words), file)
    if not warm and file == WEIGHTS:  # the server states its sha256
        assert hub.count("GET", WEIGHTS) == 0
    trial.manifest(trial.entry)
    trial.check_right_now()


# Presets whose files are what their repository says, and mean harm. Each function changes the
# files of a good one; `bait` is what must be neither opened nor imported.
HOSTILE = "someone/hostile"


def in_config(change):
    def harm(files, bait):
        config = json.loads(files[CONFIG])
        change(config, bait)
        files[CONFIG] = json.dumps(config).encode()

    return harm


def named_backbone(name):
    def change(config, bait):
        config["dolg"]["backbone"] = name.replace("{bait}", str(bait))
        del config["backbone"]

    return in_config(change)


def tap(name):
    def change(config, bait):
        config["dolg"].update(backbone="efficientnet_lite_b0", taps=[name, "P5"])
        del config["backbone"]

    return in_config(change)


def in_layer(**changes):
    """Changes the backbone's first convolution."""

    def change(config, bait):
        layer = config["backbone"]["config"]["layers"][1]
        layer.update({**changes, "config": {**layer["config"], **changes.get("config", {})}})

    return in_config(change)


def lambda_layer(config, bait):
    code = keras.layers.Lambda(lambda x, ran=str(bait / "ran"): (Path(ran).touch(), x)[1])
    layer = config["backbone"]["config"]["layers"][1]
    told = keras.saving.serialize_keras_object(code)
    layer.update(
        {**told, "name": layer["name"], "config": {**told["config"], "name": layer["name"]}}
    )


def hash_of_a_path(files, bait):
    metadata = json.loads(files["metadata.json"])
    metadata["sha256"]["../../x"] = OTHER_HASH
    metadata["sha256"][str(bait / "x")] = OTHER_HASH
    files["metadata.json"] = json.dumps(metadata).encode()


def in_weights(link):
    def harm(files, bait):
        buffer = io.BytesIO(files[WEIGHTS])
        with h5py.File(buffer, "a") as file:
            paths = []
            file.visititems(
                lambda path, item: paths.append(path) if isinstance(item, h5py.Dataset) else None
            )
            path = paths[0]
            data = file[path][()]
            with h5py.File(bait / "x.h5", "w") as other:
                other[path] = data
            (bait / "x").write_bytes(data.tobytes())
            del file[path]
            link(file, path, data, bait)
        files[WEIGHTS] = buffer.getvalue()

    return harm


def external_link(file, path, data, bait):
    file[path] = h5py.ExternalLink(str(bait / "x.h5"), path)


def external_data(file, path, data, bait):
    place = [(str(bait / "x"), 0, data.nbytes)]
    file.create_dataset(path, data.shape, data.dtype, external=place)


def in_preprocessor(files, bait):
    files["preprocessor.json"] = json.dumps(
        {"module": "bait_module", "class_name": "Bait", "config": {}, "registered_name": "Bait"}
    ).encode()


class Pickled:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def pickle_for(name):
    def harm(files, bait):
        files[name] = pickle.dumps(Pickled(str(bait / "ran")))

    return harm


HARMS = {
    "backbone ../../x": (named_backbone("../../x"), CONFIG, "../../x"),
    "tap ../../x": (tap("../../x"), CONFIG, "../../x"),
    "a hash of ../../x": (hash_of_a_path, None, None),
    "an external link in the weights": (in_weights(external_link), WEIGHTS, "link"),
    "weights kept in another file": (in_weights(external_data), WEIGHTS, "another file"),
    "a Lambda layer": (in_config(lambda_layer), CONFIG, "Lambda"),
    "a custom object": (
        in_layer(registered_name="evil>Bait", class_name="Bait", module=None),
        CONFIG,
        "evil>Bait",
    ),
    "a class of a module": (
        in_layer(module="bait_module", class_name="Bait", registered_name=None),
        CONFIG,
        "bait_module",
    ),
    "a layer that opens a path": (
        in_layer(class_name="TFSMLayer", config={"filepath": "../../x"}),
        CONFIG,
        "TFSMLayer",
    ),
    "a class in place of an initializer": (
        in_layer(
            config={
                "kernel_initializer": {
                    "module": "bait_module",
                    "class_name": "Bait",
                    "config": {},
                    "registered_name": None,
                }
            }
        ),
        CONFIG,
        "bait_module",
    ),
    "a class in preprocessor.json": (in_preprocessor, "preprocessor.json", "module"),
    "a pickle as config.json": (pickle_for(CONFIG), CONFIG, "JSON"),
}


@pytest.fixture(scope="module")
def watch():
    """Notes what Python opens whose path holds one of the parts that are watched for."""
    parts, opened = [], []

    def note(event, arguments):
        if event in ("open", "os.listdir", "os.scandir"):
            opened.extend(str(arguments[0]) for part in parts if part in str(arguments[0]))

    sys.addaudithook(note)  # which stays for ever
    yield parts, opened
    parts.clear()


@pytest.fixture
def bait(tmp_path, monkeypatch):
    """A folder that tells when something in it is opened, imported or made."""
    folder = tmp_path / "bait"
    folder.mkdir()
    ran = str(folder / "ran")
    (folder / "bait_module.py").write_text(f"open({ran!r}, 'w').close()\nclass Bait:\n    pass\n")
    monkeypatch.syspath_prepend(folder)

    @keras.saving.register_keras_serializable(package="evil")
    class Bait(keras.layers.Conv2D):
        def __init__(self, *args, **kwargs):
            (folder / "ran").touch()
            super().__init__(*args, **kwargs)

    yield folder
    del keras.saving.get_custom_objects()["evil>Bait"]


@pytest.mark.parametrize("harm", HARMS)
def test_a_hostile_preset_runs_nothing_and_opens_nothing(harm, trial, bait, files, hub, watch):
    change, file, word = HARMS[harm]
    files = dict(files)
    change(files, bait)
    seal(files)
    commit = hub.commit(HOSTILE, files)
    trial = trial("branch")
    cache = replace(trial.cache, repository=hub.repos[HOSTILE])
    trial = replace(trial, name=f"hf://{HOSTILE}", cache=cache)
    parts, opened = watch
    opened.clear()
    parts += [str(bait / "x"), "../../x", str(bait / "ran")]
    outcome = trial.ask()
    parts.clear()
    trial.record(harm, outcome, 1)
    assert opened == []
    assert not (bait / "ran").exists()
    assert "bait_module" not in sys.modules
    if file is None:  # what it names is not looked at
        trial.check(outcome, RIGHT, None)
        return
    assert isinstance(outcome.error, PresetError), outcome.error
    for part in (HOSTILE.replace("/", "--"), commit, file, word):
        assert part in str(outcome.error)


def test_a_pickle_as_margin_head_is_not_read(trial, bait, files, hub):
    files = dict(files)
    described = {"layer": "ArcFace", "num_classes": 2, "dim": 64, "scale": 30.0, "margin": 0.1}
    in_config(lambda config, bait: config.update(margin_head=described))(files, bait)
    buffer = io.BytesIO()
    np.savez(buffer, centers=np.array([Pickled(str(bait / "ran"))], dtype=object))
    files["margin_head.npz"] = buffer.getvalue()
    seal(files)
    hub.commit(HOSTILE, files)
    trial("branch")
    model = DOLG.from_preset(f"hf://{HOSTILE}")
    with pytest.raises(PresetError, match=r"margin_head\.npz cannot be read as a margin head"):
        model.load_margin_head()
    assert not (bait / "ran").exists()


def seal(files):
    """Has metadata.json state the hashes that the other files have now."""
    metadata = json.loads(files["metadata.json"])
    for name in set(metadata["sha256"]) & set(files):
        metadata["sha256"][name] = hashlib.sha256(files[name]).hexdigest()
    files["metadata.json"] = json.dumps(metadata).encode()


def test_no_result_was_wrong_or_torn(table):
    assert table.wrong == []
