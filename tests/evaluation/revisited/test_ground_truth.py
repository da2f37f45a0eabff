import os
import pickle

import pytest

from dolg_zoo.evaluation.files import find_images
from dolg_zoo.evaluation.revisited import ground_truth as module
from dolg_zoo.evaluation.revisited.ground_truth import (
    GroundTruthError,
    find_ground_truth,
    read_ground_truth,
)
from dolg_zoo.weights import CheckpointError

ENTRY = {"bbx": [1.5, 2, 30, 40], "easy": [0], "hard": [2], "junk": []}


@pytest.mark.parametrize("name", ["roxford5k", "rparis6k"])
def test_the_published_files_are_read_as_pickle_reads_them(shared, name):
    path = shared / "revisited" / f"gnd_{name}.pkl"
    truth, expected = read_ground_truth(path), pickle.loads(path.read_bytes())
    assert list(truth.gallery) == expected["imlist"]
    assert list(truth.queries) == expected["qimlist"]
    for number, entry in enumerate(expected["gnd"]):
        assert list(truth.boxes[number]) == entry["bbx"]
        for kind in ("easy", "hard", "junk"):
            assert getattr(truth, kind)[number].tolist() == entry[kind]


class Hostile:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("protocol", range(6))
def test_nothing_in_the_file_is_run(write_truth, tmp_path, protocol):
    marker = tmp_path / "marker"
    path = tmp_path / "gnd.pkl"
    value = {"imlist": ["a"], "qimlist": ["b"], "gnd": [Hostile(marker)]}
    path.write_bytes(pickle.dumps(value, protocol))
    with pytest.raises(CheckpointError, match=r"gnd\.pkl .*Nothing in it was run"):
        read_ground_truth(path)
    assert not marker.exists()
    pickle.loads(path.read_bytes())
    assert marker.exists()  # as it does where it is run


@pytest.mark.parametrize("length", [0, 1, 60, -1])
def test_a_file_that_is_cut_short_is_refused(write_truth, length):
    path = write_truth(["a", "b", "c"], ["q"], [ENTRY])
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(CheckpointError, match="gnd_roxford5k"):
        read_ground_truth(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"easy": [3]}, r"easy of entry 0 of gnd has the row 3, and imlist has 3 names"),
        ({"easy": [-1]}, "has the row -1"),
        ({"easy": [True]}, "no list of whole numbers"),
        ({"easy": [2**100]}, "a giant number"),
        ({"junk": [0]}, "lists an image more than once"),
        ({"easy": [1, 1]}, "lists an image more than once"),
        ({"hard": None}, "hard of entry 0 of gnd is no list"),
        ({"bbx": [1, 2, 3]}, "bbx of entry 0 of gnd is no box"),
        ({"bbx": [3, 2, 1, 4]}, "no box"),
        ({"bbx": [1, 2, float("nan"), 4]}, "no box"),
        ({"bbx": [1, 2, 10**400, 4]}, "no box"),
        ({"bbx": "1234"}, "no box"),
    ],
)
def test_what_is_no_ground_truth_is_named(write_truth, change, message):
    path = write_truth(["a", "b", "c"], ["q"], [{**ENTRY, **change}])
    with pytest.raises(GroundTruthError, match=message):
        read_ground_truth(path)


@pytest.mark.parametrize(
    "name", ["../a", "/etc/a", "..", "", "a\\b", "C:a", "a\nb", 7, "x" * 70000]
)
def test_names_are_those_of_files_in_a_folder(write_truth, name):
    for lists in ((["a", name, "c"], ["q"]), (["a", "b", "c"], [name])):
        with pytest.raises(GroundTruthError, match="no name of an image"):
            read_ground_truth(write_truth(*lists, [ENTRY]))


def test_other_shapes_of_a_file_are_refused(tmp_path):
    path = tmp_path / "gnd.pkl"
    for value in (
        [],
        {"imlist": ["a"]},
        {"imlist": ["a", "a"], "qimlist": ["q"], "gnd": [ENTRY]},
        {"imlist": ["a"], "qimlist": ["q", "r"], "gnd": [ENTRY]},
        {"imlist": ["a"], "qimlist": ["q"], "gnd": [3]},
    ):
        path.write_bytes(pickle.dumps(value, 3))
        with pytest.raises(GroundTruthError, match="no ground truth of Revisited"):
            read_ground_truth(path)


def test_a_long_list_that_is_listed_again_and_again_is_refused(write_truth, monkeypatch):
    monkeypatch.setattr(module, "MAX_LISTED", 1000)
    names = [f"image{place}" for place in range(600)]
    entry = {**ENTRY, "easy": list(range(600)), "hard": []}
    path = write_truth(names, ["q", "r"], [entry, entry])
    with pytest.raises(GroundTruthError, match="more than 1000 images in all"):
        read_ground_truth(path)


def test_it_is_looked_for_in_the_folder_of_images_and_around_it(write_truth, tmp_path):
    (tmp_path / "jpg").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no gnd_roxford5k\.pkl .*revisitop"):
        find_ground_truth("roxford5k", tmp_path / "jpg")
    path = write_truth(["a"], ["q"], [])
    assert find_ground_truth("roxford5k", tmp_path / "jpg") == path
    assert find_ground_truth("roxford5k", tmp_path) == path


@pytest.mark.parametrize("below", ["", "jpg", "paris/defense"])
def test_images_are_found_below_the_folder(tmp_path, below):
    (tmp_path / below).mkdir(parents=True, exist_ok=True)
    for name in ("a.jpg", "b.png", "other.jpg", "notes.txt"):
        (tmp_path / below / name).touch()
    paths, extra = find_images(tmp_path, ["b", "a"])
    assert paths == {name.split(".")[0]: tmp_path / below / name for name in ("a.jpg", "b.png")}
    assert extra == [tmp_path / below / "other.jpg"]


def test_missing_images_are_counted_and_the_first_are_named(tmp_path):
    (tmp_path / "image3.jpg").touch()
    names = [f"image{number}" for number in range(9)]
    with pytest.raises(FileNotFoundError) as caught:
        find_images(tmp_path, names)
    assert "8 of 9 images" in str(caught.value)
    assert "image0, image1, image2, image4, image5, …" in str(caught.value)


def test_two_files_for_one_image_are_refused(tmp_path):
    for name in ("a.jpg", "a.png"):
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match="remove one"):
        find_images(tmp_path, ["a"])
