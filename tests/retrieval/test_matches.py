import re

import numpy as np
from PIL import Image
from small_model import small_model

from dolg_zoo.retrieval import Index, Matches
from dolg_zoo.retrieval.matches import Match


def test_what_a_search_finds_is_a_list_that_knows_its_query(photos):
    index = Index.build(small_model(), photos)
    found = index.search(photos / "rocket.png", 2)
    assert isinstance(found, list) and len(found) == 2 and found.query == photos / "rocket.png"
    [each] = index.search_each([photos / "coffee.png"], 1)
    assert each.query == photos / "coffee.png"
    assert index.within(photos / "coffee.png", 0.99).query == photos / "coffee.png"


def test_a_notebook_shows_the_query_the_scores_and_the_names(photos):
    found = Index.build(small_model(), photos).search(photos / "rocket.png", 3)
    shown = found._repr_html_()
    assert shown.count('src="data:image/jpeg;base64,') == 4
    assert re.findall(r"<b>([^<]*)</b>", shown) == [
        "Query",
        *(f"{rank}&ensp;{match.score:.3f}" for rank, match in enumerate(found, 1)),
    ]
    assert "far/chelsea.png" in shown or len(found) == 3


def test_names_are_text_and_nothing_else(tmp_path):
    name = "<script>alert('x')</script>.png"
    match = Match(name, tmp_path / "gone.png", 0.5)
    shown = Matches([match])._repr_html_()
    assert "<script>" not in shown and "&lt;script&gt;" in shown


def test_an_image_that_has_gone_is_said(tmp_path):
    shown = Matches([Match("gone.png", tmp_path / "gone.png", 0.5)])._repr_html_()
    assert "gone.png" in shown and "<img" not in shown


def test_nothing_and_very_much_are_said(tmp_path):
    assert "nothing was found" in Matches()._repr_html_()
    Image.fromarray(np.zeros((8, 8, 3), "uint8")).save(tmp_path / "a.png")
    many = Matches([Match("a.png", tmp_path / "a.png", 0.5)] * 103)
    assert many._repr_html_().count("<img") == 100 and "and 3 more" in many._repr_html_()
