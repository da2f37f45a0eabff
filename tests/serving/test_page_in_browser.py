"""The page as one uses it: in Chromium, with a mouse, with the keyboard, on a phone."""

import re
import shutil

import pytest

pytest.importorskip("gradio")
playwright = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.slow

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ALONE = (
    "--no-sandbox --disable-gpu --disable-quic --disable-background-networking"
    " --disable-component-update --disable-sync --no-first-run"
)
STATUS = "#status textarea"


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        try:
            browser = driver.chromium.launch(executable_path=CHROMIUM, args=ALONE.split())
        except playwright.Error as error:
            pytest.skip(f"no Chromium: {str(error).splitlines()[0]}")
        yield browser
        browser.close()


@pytest.fixture
def served(desk, photos):
    from dolg_zoo.serving.launch import start

    page = start(desk, "photos")
    yield page.local_url
    page.close()


@pytest.fixture
def visit(browser, served):
    """Opens the page; fails if it asks for anything from elsewhere, or says that it is at fault."""
    contexts, elsewhere, faults = [], [], []

    def open_page(**settings):
        contexts.append(browser.new_context(**settings))
        tab = contexts[-1].new_page()
        tab.set_default_timeout(30_000)
        tab.on("request", lambda request: elsewhere.append(request.url))
        tab.on("pageerror", lambda error: faults.append(str(error)))
        tab.goto(served)
        tab.wait_for_selector("#dropped")
        return tab

    yield open_page
    for context in contexts:
        context.close()
    assert faults == []
    assert [u for u in elsewhere if not u.startswith((served, "data:", "blob:"))] == []


def drop(tab, path, selector="#dropped"):
    tab.set_input_files(f"{selector} input[type=file]", path)


def wait(tab, text):
    tab.wait_for_function(
        f"text => document.querySelector('{STATUS}').value.includes(text)", arg=text
    )
    return tab.input_value(STATUS)


def captions(tab):
    return tab.locator("#matches .caption-label").all_inner_texts()


def click_at(tab, across, down):
    picture = tab.locator("#query img")
    tab.wait_for_function("document.querySelector('#query img').naturalWidth > 0")  # it is loaded
    place = picture.bounding_box()
    # unlike a click of the mouse alone it waits until the picture lies still and nothing covers it
    picture.click(position={"x": across * place["width"], "y": down * place["height"]})


def test_a_photograph_is_dropped_a_box_drawn_a_result_explained_and_searched_onward(
    visit, photos, tmp_path
):
    tab = visit()
    drop(tab, photos / "rocket.png")
    assert wait(tab, "rocket.png first").startswith("4 of 4 images")
    tab.wait_for_selector("#query img")
    assert captions(tab)[0] == "1 · 1.000 · rocket.png"

    click_at(tab, 0.2, 0.1)
    wait(tab, "the opposite corner")
    click_at(tab, 0.8, 0.9)
    wait(tab, "the box in rocket.png")
    box = [int(part) for part in tab.input_value("#box textarea, #box input").split(",")]
    assert box == pytest.approx([32, 16, 128, 144], abs=2)  # of 160×160 pixels

    tab.locator("#matches button").nth(1).click()
    chosen = re.match(r"(\S+): cosine ([-\d.]+)", wait(tab, "cosine"))
    assert f"2 · {chosen[2]} · {chosen[1].rpartition('/')[2]}" == captions(tab)[1]
    tab.wait_for_selector("#why img")

    tab.screenshot(path=tmp_path / "page.png", full_page=True)
    tab.click("#onward")
    wait(tab, f"{chosen[1]} first")
    assert captions(tab)[0].startswith("1 · 1.000 · ")


def test_the_keyboard_is_enough(visit, photos):
    tab = visit()
    drop(tab, photos / "rocket.png")
    wait(tab, "rocket.png first")
    tab.focus("#box textarea, #box input")
    tab.keyboard.type("10, 10, 120, 90")
    tab.keyboard.press("Enter")
    wait(tab, "the box in")
    tab.locator("#matches button").first.focus()
    tab.keyboard.press("Enter")
    wait(tab, "cosine")
    tab.focus("#onward")
    tab.keyboard.press("Enter")
    wait(tab, "the most similar")


def test_another_preset_and_ranking_are_chosen(visit, photos):
    tab = visit()
    drop(tab, photos / "rocket.png")
    wait(tab, "rocket.png first")
    for field, option in (("#ranking", "re-ranking of the first 50"), ("#preset", "another")):
        tab.click(f"{field} input")
        tab.get_by_role("option", name=option).click()
        tab.wait_for_function(
            "field => !document.querySelector(field + ' .progress-text')", arg="#matches"
        )
        assert captions(tab)[0] == "1 · 1.000 · rocket.png"


def test_images_are_added_and_found(visit, photos, tmp_path):
    from PIL import Image

    with Image.open(photos / "coffee.png") as image:
        image.rotate(20).save(tmp_path / "new.png")
    (tmp_path / "bad.png").write_bytes(b"no image")
    tab = visit()
    tab.get_by_text("Add photographs to the index").click()
    drop(tab, [tmp_path / "new.png", tmp_path / "bad.png"], "#files")
    tab.wait_for_function("document.querySelectorAll('#files .file').length == 2")
    tab.click("#add")
    assert "bad.png was refused" in wait(tab, "1 of 2 files are in the index")
    drop(tab, tmp_path / "new.png")
    wait(tab, "5 of 5 images")


def test_what_is_no_image_is_said_where_one_looks(visit, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no image")
    tab = visit()
    drop(tab, tmp_path / "bad.png")
    tab.get_by_text("cannot be used as an image").wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_all_of_it_without_scrolling_aside(visit, photos, scheme):
    size = {"width": 390, "height": 844}
    tab = visit(viewport=size, has_touch=True, is_mobile=True, color_scheme=scheme)
    drop(tab, photos / "rocket.png")
    wait(tab, "rocket.png first")
    assert tab.evaluate("document.documentElement.scrollWidth") <= size["width"]
    place = tab.locator("#matches").bounding_box()
    assert place["x"] >= 0 and place["x"] + place["width"] <= size["width"]
