"""The page over HTTP, as one would talk to it who does not use a browser."""

import json
import os
import subprocess
import sys
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image, ImageColor

from dolg_zoo.drawing.style import CATEGORIES
from dolg_zoo.shipped_photos import FOLDER

pytest.importorskip("gradio")
httpx = pytest.importorskip("httpx")

PRESET, RANKING = "a-preset", "by similarity"


class Visitor:
    """Someone with a session."""

    def __init__(self, page):
        self.page, self.url = page, page.local_url.rstrip("/") + "/gradio_api"
        self.session = uuid.uuid4().hex
        self.http = httpx.Client(timeout=120, trust_env=False)

    def get(self, path):
        return self.http.get(f"{self.url}/{path}")

    def upload(self, content, name="photo.png"):
        return self.http.post(f"{self.url}/upload", files={"files": (name, content)})

    def file(self, content, name="photo.png"):
        [path] = self.upload(content, name).json()
        return {"path": path, "orig_name": name, "meta": {"_type": "gradio.FileData"}}

    def call(self, what, *given):
        """What comes of clicking: (whether it went well, what was answered)."""
        number = next(n for n, fn in self.page.fns.items() if fn.name == what)
        asked = {"fn_index": number, "data": [*given], "session_hash": self.session}
        joined = self.http.post(f"{self.url}/queue/join", json=asked)
        if joined.status_code != 200:
            return False, joined.text
        stream = f"{self.url}/queue/data?session_hash={self.session}"
        with self.http.stream("GET", stream) as lines:
            for line in lines.iter_lines():
                message = json.loads(line.removeprefix("data:")) if line else {}
                if message.get("msg") == "process_completed":
                    return message["success"], message["output"]
        raise AssertionError("the page did not answer")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two photographs of 160×160 pixels; beside their folder lies what is nobody's business."""
    around = tmp_path_factory.mktemp("page")
    (around / "secret.txt").write_text("secret")
    (around / "photos" / "far").mkdir(parents=True)
    for name in ("rocket", "far/chelsea"):
        (path,) = FOLDER.glob(f"{Path(name).name}.*")
        square = Image.open(path).convert("RGB").crop((0, 0, 300, 300)).resize((160, 160))
        square.save(around / "photos" / f"{name}.png")
    return around / "photos"


@pytest.fixture(scope="module")
def page(desk_of, folder):
    from dolg_zoo.serving.launch import start

    page = start(desk_of(folder), "a *title*")
    yield page
    page.close()


@pytest.fixture
def visitor(page):
    return Visitor(page)


@pytest.fixture
def rocket(folder):
    return (folder / "rocket.png").read_bytes()


def test_a_photograph_is_found(visitor, rocket):
    good, output = visitor.call("_drop", visitor.file(rocket), PRESET, RANKING)
    assert good and "2 of 2 images" in json.dumps(output)
    captions = [card["caption"] for card in output["data"][4]["value"]]
    assert captions[0] == "1 · 1.000 · rocket.png"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("bad.png", b"no image at all"),
        ("evil.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"),
        ("bomb.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
        ("empty.png", b""),
    ],
)
def test_what_is_no_image_is_refused_in_words(visitor, name, content, folder):
    good, output = visitor.call("_drop", visitor.file(content, name), PRESET, RANKING)
    assert not good
    assert "image" in output["error"] and str(folder.parent) not in json.dumps(output)


def test_a_file_over_the_size_is_refused_when_it_is_sent(visitor):
    answer = visitor.upload(b"\0" * (20 * 2**20 + 1))
    assert answer.status_code == 413


def test_no_file_is_served_by_its_path(visitor, folder):
    for path in (
        "/etc/passwd",
        folder.parent / "secret.txt",
        folder / "rocket.png",
        folder / ".." / "secret.txt",
        "/proc/self/environ",
    ):
        answer = visitor.get(f"file={path}")
        assert answer.status_code in (403, 404), path


@pytest.mark.parametrize("path", ["/etc/passwd", "{photos}/rocket.png"])
def test_a_file_that_was_not_sent_is_not_read(visitor, folder, path):
    file = {"path": path.format(photos=folder), "meta": {"_type": "gradio.FileData"}}
    good, output = visitor.call("_drop", file, PRESET, RANKING)
    assert not good and "rocket.png ·" not in json.dumps(output)


def test_the_page_does_not_fetch_what_a_visitor_names(visitor):
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def handle_one_request(self):
            asked.append(self.rfile.readline())
            self.close_connection = True

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/inside.png"
        for file in ({"path": url}, {"path": "x.png", "url": url}):
            file["meta"] = {"_type": "gradio.FileData"}
            good, _ = visitor.call("_drop", file, PRESET, RANKING)
            assert not good
    finally:
        server.shutdown()
    assert asked == []


def test_too_many_files_to_add_are_refused(visitor, rocket, folder):
    files = [visitor.file(rocket)] * 51
    good, output = visitor.call("_add", PRESET, files)
    assert not good and "51 files at once are too many" in output["error"]
    assert not (folder / "added").exists()


def test_where_visitors_may_not_add_they_cannot(desk):
    from dolg_zoo.serving.page import Page

    assert "_add" not in {fn.name for fn in Page(desk, "t").blocks(may_add=False).fns.values()}


@pytest.mark.parametrize(
    ("what", "given", "said"),
    [
        ("_search_box", ["", PRESET, RANKING], "Drop a photograph first"),
        ("_onward", [PRESET, RANKING], "Drop a photograph first"),
    ],
)
def test_nothing_to_do_it_with_is_said(visitor, what, given, said):
    good, output = visitor.call(what, None, *given)
    assert not good and said in output["error"]


def test_two_clicks_on_a_large_photograph_are_a_box_in_its_own_pixels(desk, folder, tmp_path):
    from dolg_zoo.serving.page import SHOWN, Page, Query

    with Image.open(folder / "rocket.png") as image:
        image.resize((1800, 1200)).save(tmp_path / "large.png")
    page, query = Page(desk, "t"), Query(tmp_path / "large.png", "large.png")
    # right below, then left above, in the picture of 900×600 that is shown
    query, _, shown, *_ = page._corner(query, PRESET, RANKING, SimpleNamespace(index=[700, 500]))
    assert shown.size == (SHOWN, SHOWN * 2 // 3) and query.corner == (1400, 1000)
    query, _, shown, text, *_ = page._corner(
        query, PRESET, RANKING, SimpleNamespace(index=[100, 50])
    )
    assert query.box == (200, 100, 1400, 1000) and text == "200, 100, 1400, 1000"
    assert shown.getpixel((100, 300)) == ImageColor.getrgb(CATEGORIES[0])


@pytest.mark.parametrize("box", ["1,2,3", "a,b,c,d", "9,9,1,1", "nan,0,1,1", "500,500,600,600"])
def test_a_box_that_is_none_is_said(visitor, rocket, box):
    visitor.call("_drop", visitor.file(rocket), PRESET, RANKING)
    good, output = visitor.call("_search_box", None, box, PRESET, RANKING)
    assert not good and "ox" in output["error"]


def test_a_preset_of_a_visitors_own_is_not_loaded(visitor, rocket):
    good, output = visitor.call("_drop", visitor.file(rocket), "hf://some/body", RANKING)
    assert not good and "hf://some/body" in output["error"]


def test_fifty_at_once_are_answered_and_the_page_is_still_there(page, rocket):
    visitors = [Visitor(page) for _ in range(50)]

    def ask(visitor):
        return visitor.call("_drop", visitor.file(rocket), PRESET, RANKING)

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(ask, visitors))
    assert all(good for good, _ in answers)
    assert httpx.get(page.local_url, trust_env=False).status_code == 200


# by name, from programs


@pytest.fixture(scope="module")
def client(page):
    from gradio_client import Client

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("no_proxy", "*")
        return Client(page.local_url, verbose=False, analytics_enabled=False)


@pytest.fixture
def sent(folder):
    from gradio_client import handle_file

    return handle_file(folder / "rocket.png")


def test_a_program_searches_by_name(client, sent):
    best, other = client.predict(sent, api_name="/search")
    assert best == {"rank": 1, "name": "rocket.png", "score": pytest.approx(1, abs=1e-5)}
    assert (other["rank"], other["name"]) == (2, "far/chelsea.png") and other["score"] < 1
    assert len(client.predict(image=sent, k=1, box="0,0,80,80", api_name="/search")) == 1


@pytest.mark.parametrize("box", ["", "0, 0, 80, 80"])
def test_a_program_gets_the_parts_of_a_score_and_a_picture(client, sent, box):
    found = client.predict(sent, box, api_name="/search")
    [other] = [match for match in found if match["name"] == "far/chelsea.png"]
    parts, picture = client.predict(sent, "far/chelsea.png", box, api_name="/explain")
    assert parts["score"] == pytest.approx(other["score"], abs=1e-5)
    assert parts["local"] + parts["global"] == pytest.approx(parts["score"], abs=1e-6)
    with Image.open(picture) as image:
        assert image.width > 100


def test_a_program_adds_images_that_are_found_then(desk_of, folder, tmp_path):
    from gradio_client import Client, handle_file

    from dolg_zoo.serving.launch import start

    (tmp_path / "gallery").mkdir()
    (tmp_path / "gallery" / "a.png").write_bytes((folder / "rocket.png").read_bytes())
    (tmp_path / "bad.png").write_bytes(b"no image")
    page = start(desk_of(tmp_path / "gallery"), "t")
    try:
        client = Client(page.local_url, verbose=False, analytics_enabled=False)
        files = [handle_file(tmp_path / "bad.png"), handle_file(folder / "far" / "chelsea.png")]
        added = client.predict(files, api_name="/add")
        best, *_ = client.predict(files[1], api_name="/search")
    finally:
        page.close()
    assert [best["name"]] == added["names"] and list(added["refused"]) == ["bad.png"]


def test_where_visitors_may_not_add_programs_cannot_either(desk, folder):
    from dolg_zoo.serving.launch import start

    page = start(desk, "t", may_add=False)
    try:
        visitor = Visitor(page)
        named = visitor.get("info").json()["named_endpoints"]
        answer = visitor.http.post(f"{visitor.url}/call/add", json={"data": [[], None]})
    finally:
        page.close()
    assert set(named) == {"/search", "/explain"} and not answer.is_success


def by_name(visitor, what, *given):
    """What a program with curl gets: (event, data)."""
    asked = visitor.http.post(f"{visitor.url}/call/{what}", json={"data": [*given]})
    if asked.status_code != 200:
        return "refused", asked.text
    number = asked.json()["event_id"]
    lines = visitor.get(f"call/{what}/{number}").text.splitlines()
    return lines[-3].removeprefix("event: "), lines[-2].removeprefix("data: ")


@pytest.mark.parametrize(
    ("changed", "value"),
    [
        *(("k", value) for value in (0, -1, 1001, 10**400, 1e300, "many", [3], {"a": 1})),
        *(("box", value) for value in ("1,2,3", "nan,0,1,1", "9,9,1,1", [1, 2], {"a": 1}, 5)),
        *(("ranking", value) for value in ("best", 3, [], ["by similarity"], {})),
        *(("preset", value) for value in ("hf://some/body", "/etc", 1, [], ["a-preset"], {})),
        *(("image", value) for value in (None, "/etc/passwd", 7, [], {})),
        ("image", {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}),
        ("image", {"path": "{photos}/rocket.png", "meta": {"_type": "gradio.FileData"}}),
        ("image", {"path": "{photos}/rocket.png"}),
    ],
)
def test_what_a_program_may_not_ask_for_is_refused(visitor, rocket, folder, changed, value):
    asked = {"image": visitor.file(rocket), "box": "", "k": 2, "ranking": RANKING, "preset": PRESET}
    if isinstance(value, dict) and "path" in value:
        value = {**value, "path": value["path"].format(photos=folder)}
    event, answer = by_name(visitor, "search", *{**asked, changed: value}.values())
    assert event in ("error", "refused") and "score" not in answer and "Traceback" not in answer
    # Gradio repeats a path that it was given
    assert changed == "image" or str(folder) not in answer


@pytest.mark.parametrize(
    "name", ["", None, "../secret.txt", "/etc/passwd", "{photos}/rocket.png", 3, ["rocket.png"]]
)
def test_only_images_of_the_index_are_explained(visitor, rocket, folder, name):
    name = name.format(photos=folder) if isinstance(name, str) else name
    event, answer = by_name(visitor, "explain", visitor.file(rocket), name, "", PRESET)
    assert event == "error" and "no image" in answer


@pytest.mark.parametrize("what", [None, [], "/etc/passwd", [{"path": "/etc/passwd"}], [7], {}])
def test_no_file_of_the_server_is_added(visitor, folder, what):
    event, _ = by_name(visitor, "add", what, PRESET)
    assert event in ("error", "refused") and not (folder / "added").exists()


def test_too_many_files_of_a_program_are_refused(visitor, rocket, folder):
    event, answer = by_name(visitor, "add", [visitor.file(rocket)] * 51, PRESET)
    assert event == "error" and "51 files at once are too many" in answer
    assert not (folder / "added").exists()


# on machines of all kinds


@pytest.mark.parametrize("proxy", ["http_proxy", "HTTP_PROXY", "all_proxy", "https_proxy"])
def test_the_page_starts_behind_a_proxy(desk, monkeypatch, proxy):
    from dolg_zoo.serving.launch import start

    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(proxy, "http://127.0.0.1:9")  # where nobody answers
    before = {name: value for name, value in os.environ.items() if "proxy" in name.lower()}
    page = start(desk, "t")
    try:
        assert Visitor(page).http.get(page.local_url).status_code == 200
    finally:
        page.close()
    assert before == {n: value for n, value in os.environ.items() if "proxy" in n.lower()}


def test_a_socks_proxy_does_not_keep_the_page_from_starting(desk, monkeypatch):
    from dolg_zoo.serving.launch import start

    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    start(desk, "t").close()


SHARED = """
import os, sys, tempfile
from pathlib import Path

tempfile.tempdir = sys.argv[1]
from dolg_zoo.serving.launch import upload_folder

folder = upload_folder()
assert os.environ["GRADIO_TEMP_DIR"] == str(folder)
assert folder.parent == Path(sys.argv[1]), folder
assert folder.stat().st_mode & 0o777 == 0o700
(folder / "upload").touch()
print(folder)
"""


def test_uploads_have_a_folder_of_their_own_that_goes_with_the_process(tmp_path):
    (tmp_path / "gradio").touch()  # where Gradio would put them: it is not to be used
    env = {name: value for name, value in os.environ.items() if name != "GRADIO_TEMP_DIR"}
    done = subprocess.run(
        [sys.executable, "-c", SHARED, tmp_path], env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert not Path(done.stdout.strip()).exists() and [*tmp_path.iterdir()] == [tmp_path / "gradio"]


def test_what_is_sent_lies_in_that_folder(visitor, rocket):
    from dolg_zoo.serving.launch import upload_folder

    [path] = visitor.upload(rocket).json()
    assert Path(path).is_relative_to(upload_folder().resolve())


def test_a_folder_for_uploads_that_cannot_be_used_is_named(desk, monkeypatch, tmp_path):
    from dolg_zoo.serving.launch import start

    (tmp_path / "file").touch()
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "file"))
    with pytest.raises(OSError, match=r"GRADIO_TEMP_DIR.*file"):
        start(desk, "t")
