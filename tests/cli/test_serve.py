"""`dolg serve`: what it refuses, whom it lets add, and the real thing in a process of its own."""

import os
import re
import signal
import subprocess
import sys
import urllib.request
from types import SimpleNamespace

import pytest
from bounds import DESCRIPTOR

from dolg_zoo.cli import serve as command


@pytest.fixture
def started(monkeypatch):
    """What the page is started with."""
    pytest.importorskip("gradio")
    from dolg_zoo.serving import launch

    seen = []

    def start(desk, title, host, port, **settings):
        seen.append({"desk": desk, "title": title, "host": host, "port": port, **settings})
        return SimpleNamespace(local_url="http://here/", block_thread=lambda: None)

    monkeypatch.setattr(launch, "start", start)
    return seen


def test_what_is_missing_is_named_with_its_extra(dolg, photos, monkeypatch):
    monkeypatch.setattr(command, "is_installed", lambda name: False)
    done = dolg("serve", photos)
    assert done.code == 1 and "pip install 'dolg-zoo[demo]'" in done.err
    assert "unexpected" not in done.err


def test_a_folder_that_is_not_there_is_named(dolg, tmp_path, started):
    done = dolg("serve", tmp_path / "nowhere")
    assert done.code == 1 and "nowhere" in done.err and not started


def test_it_is_for_this_machine_alone_unless_told(dolg, photos, started):
    assert dolg("serve", photos).code == 0
    [how] = started
    assert (how["title"], how["host"], how["port"]) == ("photos", "127.0.0.1", 7860)
    assert how["desk"].presets[0] == "dolg_efficientnet_lite_b0_places_products"


@pytest.mark.parametrize(
    ("arguments", "may_add"),
    [
        ([], True),
        (["--no-add"], False),
        (["--host", "0.0.0.0"], False),
        (["--host", "0.0.0.0", "--add"], True),
    ],
)
def test_others_may_add_images_only_if_told(dolg, photos, started, arguments, may_add):
    assert dolg("serve", photos, *arguments).code == 0
    assert started[0]["may_add"] == may_add


def test_an_index_is_served_with_the_preset_that_made_it(dolg, photos, started, tmp_path):
    assert dolg("index", photos, "-o", tmp_path / "photos.index").code == 0
    assert dolg("serve", tmp_path / "photos.index").code == 0
    desk = started[0]["desk"]
    found = desk.search(desk.presets[0], photos / "rocket.png")
    explanation = desk.explain(desk.presets[0], photos / "rocket.png", found[1].name)
    assert explanation.model == "dolg_efficientnet_lite_b0_places_products"
    assert explanation.score == pytest.approx(found[1].score, abs=DESCRIPTOR)


@pytest.mark.slow
def test_it_serves_until_it_is_interrupted(photos, tmp_path, model):
    pytest.importorskip("gradio")
    model.save_to_preset(tmp_path / "small")
    # in the background of a script SIGINT is ignored, and processes inherit that
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
        " from dolg_zoo.cli import main; main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, "serve", photos, "--port", "0", "-p", tmp_path / "small"],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "DOLG_ZOO_CACHE": str(tmp_path / "cache")},
    )
    try:
        address = next(
            found[0]
            for line in process.stderr
            if (found := re.findall(r"The page is at (http://127\.0\.0\.1:\d+/)", line))
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        assert b"photos" in opener.open(address).read()
        process.send_signal(signal.SIGINT)
        assert process.wait(30) in (0, 130)
    finally:
        process.kill()
        process.wait()
