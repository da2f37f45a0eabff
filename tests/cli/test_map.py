import json
import shutil

import pytest


@pytest.fixture
def places(photos):
    """The photographs in a subfolder for each of two places, each twice."""
    for name, place in (("astronaut", "people"), ("coffee", "things")):
        (photos / place).mkdir()
        shutil.move(photos / f"{name}.png", photos / place / "a.png")
        shutil.copy(photos / place / "a.png", photos / place / "b.png")
    (photos / "rocket.png").unlink()
    shutil.rmtree(photos / "far")
    return photos


def test_the_map_of_a_folder_is_drawn(dolg, places, tmp_path):
    done = dolg("map", places, "-o", tmp_path / "map.svg", "--json")
    assert done.code == 0, done.err
    text = (tmp_path / "map.svg").read_text()
    assert ">people<" in text and ">things<" in text
    found = json.loads(done.out)["places"]
    assert found["people/a.png"] == found["people/b.png"]
    assert found["things/a.png"] == found["things/b.png"] != found["people/a.png"]


def test_another_ending_is_refused_before_anything_is_embedded(dolg, photos, embedded_images):
    done = dolg("map", photos, "-o", "map.gif")
    assert done.code == 1 and ".svg" in done.err and embedded_images == []


def right_and_wrong(dolg, monkeypatch, *arguments):
    from dolg_zoo import retrieval

    seen = []
    draw = retrieval.montage

    def drawing(query, matches, path, relevant):
        seen.append(dict(zip((match.name for match in matches), relevant or (), strict=False)))
        return draw(query, matches, path, relevant=relevant)

    monkeypatch.setattr(retrieval, "montage", drawing)
    done = dolg("search", *arguments)
    assert done.code == 0, done.err
    return seen[0]


def test_a_query_of_the_folder_has_its_subfolder_as_label(dolg, places, monkeypatch, tmp_path):
    query = places / "things" / "a.png"
    marks = right_and_wrong(
        dolg, monkeypatch, places, "-q", query, "--montage", tmp_path / "found.png"
    )
    assert marks == {
        "things/a.png": None,
        "things/b.png": True,
        "people/a.png": False,
        "people/b.png": False,
    }


def test_a_query_from_elsewhere_has_the_label_it_is_given(dolg, places, monkeypatch, tmp_path):
    query = shutil.copy(places / "things" / "a.png", tmp_path / "query.png")
    out = ("--montage", tmp_path / "found.png")
    marks = right_and_wrong(dolg, monkeypatch, places, "-q", query, *out, "--label", "people")
    assert marks["people/a.png"] and not marks["things/a.png"]
    assert right_and_wrong(dolg, monkeypatch, places, "-q", query, *out) == {}


def test_a_label_without_a_montage_is_a_mistake(dolg, places):
    done = dolg("search", places, "-q", places / "things" / "a.png", "--label", "things")
    assert done.code == 2 and "--label is for --montage" in done.err
