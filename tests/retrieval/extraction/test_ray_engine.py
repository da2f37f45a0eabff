"""The engine "ray" against the local one, on a cluster of this machine's own."""

import importlib.util
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from bounds import DESCRIPTOR
from PIL import Image

from dolg_zoo.errors import RayError
from dolg_zoo.retrieval import DescriptorStore, extract
from dolg_zoo.retrieval.extraction import ray_engine
from dolg_zoo.retrieval.extraction.ray_engine import embed_on_ray

IMAGES = 40
needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="needs Ray Data: pip install dolg-zoo[ray]"
)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Photographs of noise in two sizes, and one that is none."""
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for number in range(IMAGES):
        size = (64, 64 if number % 3 else 96, 3)
        pixels = rng.integers(0, 256, size, np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:03}.png")
    (folder / "025-bad.png").write_bytes(b"no image")
    return folder


@pytest.fixture(scope="module")
def cluster():
    """A cluster of two CPUs, as `ray start` makes one; $RAY_ADDRESS leads to it."""
    ray = shutil.which("ray", path=str(Path(sys.executable).parent))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN", "a" * 64)  # else Ray puts one into the home folder
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        patch.delenv("RAY_ADDRESS", raising=False)
        options = (
            "--num-cpus=2 --num-gpus=0 --include-dashboard=false --object-store-memory=100000000"
        )
        # --block: its processes are its children, and all are in the group of which it is the first
        head = subprocess.Popen(
            [ray, "start", "--head", "--port=0", "--block", *options.split()],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            for line in head.stdout:
                if "--address=" in line:
                    patch.setenv("RAY_ADDRESS", line.split("--address='")[1].split("'")[0])
                    break
            yield head
        finally:
            os.killpg(head.pid, signal.SIGKILL)  # asked to end, they wait for each other
            head.communicate(timeout=60)


def processes(file, holding):
    """The processes of which a file of /proc holds some bytes."""
    found = set()
    for path in Path("/proc").glob(f"[0-9]*/{file}"):
        with suppress(OSError):  # it has just ended
            if holding in path.read_bytes():
                found.add(int(path.parent.name))
    return found


def test_without_ray_the_extra_is_named_before_anything_is_done(monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RayError, match=r'pip install "dolg-zoo\[ray\]"'):
        extract(None, "nowhere", tmp_path / "store", engine="ray")
    assert not (tmp_path / "store").exists()


def test_an_unknown_engine_is_named(tmp_path):
    with pytest.raises(ValueError, match="local, ray, got 'spark'"):
        extract(None, "nowhere", tmp_path / "store", engine="spark")


def row(number, content):
    return {"number": number, "content": pickle.dumps(content)}


def test_a_chunk_that_comes_twice_counts_once():
    rows = [row(0, [("a", 1)]), row(1, [("b", 2)]), row(0, [("a", 1)]), row(2, {})]
    assert list(ray_engine._unpacked(iter(rows))) == [("a", 1), ("b", 2)]


@pytest.mark.parametrize("left", [[0, 2], [0, 1]])  # without one in the middle; without the end
def test_a_chunk_that_does_not_come_is_noticed(left):
    rows = [row(0, [("a", 1)]), row(1, [("b", 2)]), row(2, {})]
    with pytest.raises(RayError, match="lost"):
        list(ray_engine._unpacked(rows[place] for place in left))


@pytest.mark.slow
@needs_ray
def test_a_worker_killed_in_mid_run_costs_nothing_nor_does_a_damaged_shard(
    cluster, images, model, tmp_path, monkeypatch
):
    for shard, pattern in (("a.tar", "00*"), ("b.tar", "0[123]*")):
        with tarfile.open(tmp_path / shard, "w") as archive:
            for path in sorted(images.glob(pattern)):
                archive.add(path, path.name)
    with tarfile.open(tmp_path / "b.tar") as archive:
        last = archive.getmembers()[-1].offset
    (tmp_path / "b.tar").write_bytes((tmp_path / "b.tar").read_bytes()[: last + 600])
    extract(model, tmp_path / "a.tar", tmp_path / "ray")  # what an earlier run has done

    killed, before = [], processes("cmdline", b"ray::MapWorker")
    monkeypatch.setattr(ray_engine, "CHUNK_BATCHES", 1)

    def take_in(*arguments, **options):
        for result in embed_on_ray(*arguments, **options):
            if not killed:
                killed.append(min(processes("cmdline", b"ray::MapWorker") - before))
                os.kill(killed[0], signal.SIGKILL)
            yield result

    monkeypatch.setattr("dolg_zoo.retrieval.extraction.extract.embed_on_ray", take_in)
    source = tmp_path / "*.tar"
    report = extract(model, source, tmp_path / "ray", engine="ray", workers=2, batch_size=4)
    assert killed
    assert (report.known, report.embedded) == (10, IMAGES - 11)
    assert list(report.skipped) == ["b.tar/025-bad.png"] and list(report.faults) == ["b.tar"]
    expected = dict(zip(*extract(model, source, tmp_path / "local").store.read(), strict=True))
    ids, rows = report.store.read()
    assert sorted(ids) == sorted(expected)
    np.testing.assert_allclose(rows, [expected[name] for name in ids], atol=DESCRIPTOR)


@pytest.mark.slow
@needs_ray
def test_what_kills_each_worker_ends_the_run_and_the_rest_is_kept(
    cluster, images, model, monkeypatch
):
    monkeypatch.setattr(ray_engine, "CHUNK_RETRIES", 1)
    monkeypatch.setattr(ray_engine, "CHUNK_BATCHES", 1)

    class Deadly:
        def __reduce__(self):
            return os._exit, (9,)

    class Items:  # inside of the function, so that it is sent whole
        faults: dict = {}  # noqa: RUF012
        gone: list = []  # noqa: RUF012

        def __iter__(self):
            yield "a", images / "000.png", None
            yield "b", images / "001.png", None
            yield "deadly", Deadly(), None

    done = []
    with pytest.raises(RayError, match="gave up"):
        for name, *_ in embed_on_ray(model, Items(), batch_size=1, scales=None, workers=1):
            done.append(name)
    assert "a" in done and "deadly" not in done


@pytest.mark.slow
@needs_ray
def test_without_a_cluster_it_starts_one_and_ends_it(images, model, tmp_path):
    model.save_to_preset(tmp_path / "preset")
    dolg = shutil.which("dolg", path=str(Path(sys.executable).parent))
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled", "DOLG_MARK": str(tmp_path)}
    environment.pop("RAY_ADDRESS", None)
    options = ["--engine", "ray", "--strict"]
    done = subprocess.run(
        [dolg, "embed", str(images / "00*.png"), "-o", "store", "-p", "preset", *options],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert len(DescriptorStore.open(tmp_path / "store")) == 10
    deadline = time.monotonic() + 120  # a busy machine takes its time to end them
    while (left := processes("environ", bytes(tmp_path))) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not left


@pytest.mark.slow
@needs_ray
def test_a_cluster_that_cannot_be_reached_is_named(monkeypatch, model, tmp_path, images):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(RayError, match=r"RAY_ADDRESS='127\.0\.0\.1:1' could not be"):
        extract(model, images, tmp_path / "store", engine="ray")
