"""Processes that are killed, that meet each other, and that find no room: none leaves a torn file.

See test_faults.py for how to print the table.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import queue
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import pytest
from fake_hub import flip, flipped
from hub_client import Client
from own_mounts import IN_OWN_MOUNTS, can_mount

from dolg_zoo.weights.manifest import PRESET_FILES

NAME = "anything_test"
REPO = "someone/anything"
WEIGHTS = "model.weights.h5"
CHECKPOINT = "official.pyth"
SCRIPT = Path(__file__).with_name("ask_in_forks.py")
KINDS = ("pinned", "branch", "checkpoint")
KILLS = 20


class Asker:
    """Starts calls of dolg_zoo.weights, each in a process of its own."""

    def __init__(self, endpoint: str, home: Path, *prefix: str) -> None:
        self.numbers = itertools.count()
        self.answers: dict[int, queue.Queue] = {}
        self.process = subprocess.Popen(
            [*prefix, sys.executable, str(SCRIPT)],
            env=Client(endpoint, home).environment | {"HF_HUB_VERBOSITY": "error"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self) -> None:
        for line in self.process.stdout:
            words = json.loads(line)
            self.answers[words.pop("number")].put(words)

    def say(self, **words) -> Call:
        number = next(self.numbers)
        self.answers[number] = queue.Queue()
        self.process.stdin.write(json.dumps({"number": number, **words}) + "\n")
        self.process.stdin.flush()
        return Call(self.answers[number])

    def run(self, *command: str) -> None:
        self.say(run=command).answer()

    def ask(self, asked: dict, **more) -> dict:
        return self.say(**asked, **more).outcome()

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


class Call:
    def __init__(self, answers: queue.Queue) -> None:
        self.answers = answers

    def answer(self) -> dict:
        return self.answers.get(timeout=60)

    def outcome(self) -> dict:
        while "outcome" not in (words := self.answer()):
            pass
        return words["outcome"]

    def kill(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)
        while Path(f"/proc/{pid}").exists():  # its locks go when it does
            time.sleep(0.002)


@pytest.fixture(scope="module")
def files():
    rng = random.Random(0)
    small = {name: json.dumps({"of": name}).encode() for name in PRESET_FILES if name != WEIGHTS}
    return {**small, WEIGHTS: rng.randbytes(1_400_000), CHECKPOINT: rng.randbytes(1_500_000)}


@pytest.fixture(scope="module")
def commit(module_hub, files):
    return module_hub.commit(REPO, files)


@pytest.fixture(scope="module")
def asker(module_hub, tmp_path_factory):
    asker = Asker(module_hub.endpoint, tmp_path_factory.mktemp("home"))
    yield asker
    asker.close()


@pytest.fixture
def question(commit, files, new_entry):
    """What a process is to be asked for, and the hashes of the right answer."""

    def ask(kind, cache):
        entry = new_entry(NAME, REPO, commit, files)
        arguments = {"cache_dir": str(cache.folder)}
        names = PRESET_FILES
        if kind == "pinned":
            fields = dataclasses.asdict(dataclasses.replace(entry, files=dict(entry.files)))
            arguments |= {"function": "fetch_preset", "entry": fields}
        elif kind == "branch":
            arguments |= {"function": "fetch_repo", "repo_id": REPO, "files": names}
        else:
            names = (CHECKPOINT,)
            data = files[CHECKPOINT]
            hashes = {"size": len(data), "sha256": sha256(data).hexdigest()}
            file = {"repo": REPO, "revision": commit, "path": CHECKPOINT, **hashes}
            arguments |= {"function": "fetch", "file": file, "preset": NAME}
        return arguments, {name: sha256(files[name]).hexdigest() for name in names}

    return ask


@pytest.fixture
def check(table):
    """Puts an outcome into the table, and refuses a wrong or torn one."""

    def check(fault, kind, outcome, right, cache, struck=1, seconds=0.0, note=""):
        happened = outcome.get("error", "the right bytes") if outcome else "killed"
        table.add(fault, kind, f"{happened}{note}", struck, seconds)
        wrong = [*cache.wrong_files(), *cache.strays()]
        if outcome and outcome.get("files", right) != right:
            wrong.append("the files handed out")
        if wrong:
            table.wrong.append(f"{fault}, {kind}: {wrong}")
        assert wrong == []
        assert not outcome or outcome.get("error") != "raw", outcome["message"]

    return check


def of_error(outcome, kind):
    """The message of the error that a call ended in; it names what was asked for."""
    assert "error" in outcome, "the files, where an error was due"
    assert (f"hf://{REPO}" if kind == "branch" else NAME) in outcome["message"]
    return outcome["message"]


def pace(hub):
    hub.bytes_per_s = 8_000_000


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_whenever_it_is_killed_the_next_call_gives_the_right_bytes(
    kind, asker, hub, new_cache, question, check
):
    pace(hub)
    start = time.perf_counter()
    whole = new_cache(hub.repos[REPO])
    asked, right = question(kind, whole)
    assert asker.ask(asked) == {"files": right}
    duration = time.perf_counter() - start
    moments = random.Random(kind)
    for place in range(KILLS):
        moment = (place + moments.random()) / KILLS * duration
        cache = new_cache(hub.repos[REPO])
        asked, right = question(kind, cache)
        pace(hub)
        call = asker.say(**asked)
        pid = call.answer()["pid"]
        time.sleep(moment)
        with suppress(ProcessLookupError):  # it was faster than the one that was timed
            call.kill(pid)
        found = f", {len(list(cache.folder.glob('models--*/snapshots/*/*')))} files there"
        check(f"SIGKILL at {moment / duration:.0%}", kind, {}, right, cache, 1, moment, found)
        hub.heal()
        left = asker.ask(asked, offline=True)
        assert left == {"files": right} or left["error"] in ("DownloadError", "UnreachableError")
        assert asker.ask(asked) == {"files": right}
        assert cache.wrong_files() == []
        assert asker.ask(asked, offline=True) == {"files": right}


@pytest.mark.parametrize(("kind", "count"), [("pinned", 8), ("branch", 2)])
def test_processes_that_ask_together_all_get_the_right_bytes(
    count, kind, asker, hub, new_cache, question, check
):
    pace(hub)
    cache = new_cache(hub.repos[REPO])
    asked, right = question(kind, cache)
    start = time.perf_counter()
    calls = [asker.say(**asked) for _ in range(count)]
    for call in calls:
        outcome = call.outcome()
        seconds = time.perf_counter() - start
        check(f"{count} processes on a cold cache", kind, outcome, right, cache, 0, seconds)
        assert outcome == {"files": right}
    # the lock has them wait for each other
    large = CHECKPOINT if kind == "checkpoint" else WEIGHTS
    assert hub.count("GET", large) == 1


def test_processes_that_ask_together_outlive_those_that_are_killed(
    asker, hub, new_cache, question, check
):
    pace(hub)
    cache = new_cache(hub.repos[REPO])
    asked, right = question("pinned", cache)
    calls = [asker.say(**asked) for _ in range(8)]
    pids = [call.answer()["pid"] for call in calls]
    time.sleep(0.15)
    for call, pid in list(zip(calls, pids, strict=True))[::2]:
        call.kill(pid)
    for call in calls[1::2]:
        outcome = call.outcome()
        check("8 processes, 4 of them killed", "pinned", outcome, right, cache, 4)
        assert outcome == {"files": right}


def test_wrong_bytes_that_come_once_reach_none_of_those_who_ask_together(
    asker, hub, new_cache, question, check
):
    cache = new_cache(hub.repos[REPO])
    asked, right = question("branch", cache)
    fault = hub.breaks(flip, WEIGHTS, methods=("GET",), times=1)
    calls = [asker.say(**asked) for _ in range(4)]
    outcomes = [call.outcome() for call in calls]
    for outcome in outcomes:
        check("4 processes, a wrong byte once", "branch", outcome, right, cache, fault.struck)
    assert outcomes == [{"files": right}] * 4
    assert fault.struck == 1


@pytest.fixture(scope="module")
def cornered(module_hub, tmp_path_factory):
    """An `Asker` whose mounts are its own; each test mounts over a folder of its own."""
    if not can_mount():
        pytest.skip("needs `unshare --map-root-user --mount`, and leave to remount")
    asker = Asker(module_hub.endpoint, tmp_path_factory.mktemp("home"), *IN_OWN_MOUNTS)
    yield asker
    asker.close()


@pytest.mark.parametrize(
    ("kind", "room"), [("pinned", 4), ("branch", 64), ("checkpoint", 700), ("pinned", 1300)]
)
def test_a_full_disk_leaves_nothing_torn(kind, room, cornered, hub, new_cache, question, check):
    cache = new_cache(hub.repos[REPO])
    asked, right = question(kind, cache)
    cornered.run("mount", "-t", "tmpfs", "-o", f"size={room}k", "none", str(cache.folder))
    start = time.perf_counter()
    outcome = cornered.ask(asked)
    seconds = time.perf_counter() - start
    check(f"a disk of {room} KiB", kind, outcome, right, cache, 1, seconds)
    assert outcome["error"] == "DownloadError"
    assert f"cannot be stored in {cache.folder}" in of_error(outcome, kind)
    left = cornered.ask(asked, offline=True)
    assert left["error"] != "raw", left["message"]
    cornered.run("mount", "-o", "remount,size=16m", str(cache.folder))
    assert cornered.ask(asked) == {"files": right}
    assert cornered.ask(asked, offline=True) == {"files": right}


def read_only(asker, folder):
    asker.run("mount", "--bind", str(folder), str(folder))
    asker.run("mount", "-o", "remount,bind,ro", str(folder))


def test_a_cache_that_cannot_be_written_is_named(cornered, hub, new_cache, question, check):
    cache = new_cache(hub.repos[REPO])
    asked, right = question("checkpoint", cache)
    read_only(cornered, cache.folder)
    outcome = cornered.ask(asked)
    check("a read-only cache, empty", "checkpoint", outcome, right, cache)
    assert f"cannot be stored in {cache.folder}" in of_error(outcome, "checkpoint")
    cornered.run("umount", str(cache.folder))
    assert cornered.ask(asked) == {"files": right}


@pytest.mark.parametrize(("kind", "offline"), [("pinned", False), ("branch", True)])
def test_a_cache_that_cannot_be_written_serves_what_it_has(
    kind, offline, cornered, hub, new_cache, question, check
):
    cache = new_cache(hub.repos[REPO])
    asked, right = question(kind, cache)
    cornered.ask(asked)
    read_only(cornered, cache.folder)
    outcome = cornered.ask(asked, offline=offline)
    fault = f"a read-only cache, filled{', offline' if offline else ''}"
    check(fault, kind, outcome, right, cache)
    assert outcome == {"files": right}


def test_a_damaged_cache_that_cannot_be_written_is_refused(
    cornered, hub, new_cache, question, check, table
):
    cache = new_cache(hub.repos[REPO])
    asked, right = question("pinned", cache)
    cornered.ask(asked)
    [path] = cache.folder.glob(f"models--*/snapshots/*/{WEIGHTS}")
    good = path.read_bytes()
    path.write_bytes(flipped(good))
    read_only(cornered, cache.folder)
    outcome = cornered.ask(asked)
    cornered.run("umount", str(cache.folder))
    table.add("a read-only cache, damaged", "pinned", outcome.get("error", "files"), 1, 0.0)
    assert outcome["error"] in ("DownloadError", "ChecksumError"), outcome["message"]
    assert WEIGHTS in of_error(outcome, "pinned")
    healed = cornered.ask(asked)
    check("a read-only cache, damaged, then writable", "pinned", healed, right, cache)
    assert healed == {"files": right}


def test_no_result_was_wrong_or_torn(table):
    assert table.wrong == []
