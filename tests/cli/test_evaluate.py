import json
import pickle

import pytest
from PIL import Image

import dolg_zoo
from dolg_zoo.cli import evaluate
from dolg_zoo.retrieval import Ranking
from dolg_zoo.shipped_photos import FOLDER


@pytest.fixture
def images(tmp_path):
    """Parts of two photographs in place of two landmarks: of each two images and a query."""
    (tmp_path / "jpg").mkdir()
    for landmark, photograph in (("church", "coffee.png"), ("tower", "rocket.jpg")):
        whole = Image.open(FOLDER / photograph).convert("RGB")
        for shift, name in enumerate("01q"):
            part = whole.crop((20 * shift, 10 * shift, 300 + 20 * shift, 300 + 10 * shift))
            part.resize((96, 96)).save(tmp_path / "jpg" / f"{landmark}_{name}.jpg")
    value = {
        "imlist": ["church_0", "church_1", "tower_0", "tower_1"],
        "qimlist": ["church_q", "tower_q"],
        "gnd": [
            {"bbx": [5, 5, 90, 95], "easy": [0], "hard": [1], "junk": []},
            {"bbx": [0, 0, 96, 80], "easy": [2, 3], "hard": [], "junk": []},
        ],
    }
    (tmp_path / "gnd_rparis6k.pkl").write_bytes(pickle.dumps(value, protocol=3))
    return tmp_path / "jpg"


def test_help_names_each_benchmark(dolg):
    done = dolg("evaluate", "--help")
    for name in ("roxford5k", "rparis6k", "gldv2-retrieval", "gldv2-recognition", "folder"):
        assert f"\n  {name}  " in done.out
        assert dolg("evaluate", name, "--help").code == 0


def test_json_has_every_setting_that_matters(dolg, images):
    done = dolg("evaluate", "rparis6k", "--images", images, "--scales", "0.5,1", "--json")
    assert done.code == 0
    document = json.loads(done.out)
    assert document["scores"]["medium"] == {
        "mAP": pytest.approx(1.0),
        "mP@1": 1.0,
        "mP@5": 1.0,
        "mP@10": 1.0,
        "queries": 2,
    }
    settings = document["settings"]
    assert settings["scales"] == [0.5, 1] and settings["crop_queries"] is True
    assert settings["image_converter"]["mode"] == "short_side"
    assert settings["dolg_zoo_version"] == dolg_zoo.__version__
    assert (settings["queries"], settings["gallery"], settings["distractors"]) == (2, 4, 0)
    assert (settings["expand"], settings["dba"], settings["rerank"]) == (0, 0, 0)
    assert len(settings["ground_truth_sha256"]) == 64 and len(settings["model_id"]) == 32


def test_the_table_says_what_the_figures_depend_on(dolg, images):
    done = dolg("evaluate", "rparis6k", "--images", images, "--no-crop", "--expand", "2")
    lines = [" ".join(line.split()) for line in done.out.splitlines()]
    assert lines[0] == "RParis6k"
    assert "medium 100.00 % 100.00 % 100.00 % 100.00 % 2" in lines
    assert "crop queries no" in lines and "expand 2" in lines and "alpha 3.0" in lines
    assert "The queries were not cropped" in done.out


def test_markdown(dolg, images):
    done = dolg("evaluate", "rparis6k", "--images", images, "--markdown", "--rerank", "3")
    lines = done.out.splitlines()
    assert lines[0] == "## RParis6k"
    assert "|  | mAP | mP@1 | mP@5 | mP@10 | queries |" in lines
    assert "| medium | 100.00 % | 100.00 % | 100.00 % | 100.00 % | 2 |" in lines
    assert "| crop queries | yes |" in lines and f"| rerank k1 | {Ranking().k1} |" in lines


def test_distractors_that_dolg_embed_wrote(dolg, images, embedded_model, tmp_path):
    from dolg_zoo.retrieval import extract

    extract(embedded_model, images, tmp_path / "store", dtype="float16")
    done = dolg(
        "evaluate", "rparis6k", "--images", images, "--distractors", tmp_path / "store", "--json"
    )
    assert json.loads(done.out)["settings"]["distractors"] == 6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "tower_1.jpg").unlink(), "1 of 6 images are not in"),
        (lambda folder: (folder.parent / "gnd_rparis6k.pkl").unlink(), "revisitop"),
        (
            lambda folder: (folder.parent / "gnd_rparis6k.pkl").write_bytes(b"cos\nsystem\n"),
            "Nothing in it was run",
        ),
    ],
)
def test_what_is_missing_or_wrong_is_said_before_the_model_is_loaded(
    dolg, images, monkeypatch, change, message
):
    def refuse(preset):
        raise AssertionError("the model is loaded")

    monkeypatch.setattr("dolg_zoo.cli.options.load_embedder", refuse)
    change(images)
    done = dolg("evaluate", "rparis6k", "--images", images)
    assert done.code == 1 and message in done.err and done.out == ""


def test_a_folder_of_classes(dolg, images, tmp_path):
    for name in ("church", "tower"):
        (tmp_path / "places" / name).mkdir(parents=True)
    for path in images.iterdir():
        path.rename(tmp_path / "places" / path.name.split("_")[0] / path.name)
    (tmp_path / "places" / "tower" / "bad.jpg").write_bytes(b"no image")
    done = dolg("evaluate", "folder", tmp_path / "places", "--json", "--strict")
    document = json.loads(done.out)
    assert document["scores"]["all"] == {
        "images": 6,
        "mAP": pytest.approx(1.0),
        "recall@1": 1.0,
    }
    assert list(document["scores"]) == ["all", "church", "tower"]
    assert document["skipped"][0]["name"] == "tower/bad.jpg"
    assert done.code == 3 and "tower/bad.jpg" in done.err


QUERY, OTHER, IMAGE = "b" * 16, "d" * 16, "a" * 16


@pytest.mark.parametrize(
    ("task", "solution", "submission", "score"),
    [
        (
            "gldv2-retrieval",
            f"id,images,Usage\n{QUERY},{IMAGE},Public\n{OTHER},{IMAGE},Private\n",
            f"id,images\n{QUERY},{OTHER} {IMAGE}\n",
            {"Public": {"mAP@100": 0.5, "queries": 1}, "Private": {"mAP@100": 0.0, "queries": 1}},
        ),
        (
            "gldv2-recognition",
            f"id,landmarks,Usage\n{QUERY},7,Public\n{OTHER},,Public\n",
            f"id,landmarks\n{QUERY},7 0.5\n{OTHER},7 0.9\n",
            {"Public": {"μAP": 0.5, "queries": 2, "with a landmark": 1}},
        ),
    ],
)
def test_a_submission_is_scored_without_a_model(
    dolg, tmp_path, monkeypatch, task, solution, submission, score
):
    (tmp_path / "solution.csv").write_text(solution)
    (tmp_path / "submission.csv").write_text(submission)
    arguments = ["evaluate", task, "--solution", tmp_path / "solution.csv"]
    done = dolg(*arguments, "--predictions", tmp_path / "submission.csv", "--json")
    document = json.loads(done.out)
    assert document["scores"] == score
    assert len(document["settings"]["predictions_sha256"]) == 64
    assert dolg(*arguments).code == 2
    mixed = dolg(*arguments, "--predictions", tmp_path / "submission.csv", "--queries", tmp_path)
    assert mixed.code == 2 and "Give either --predictions, or" in mixed.err


def test_gldv2_from_images(dolg, images, tmp_path):
    ids = {name: f"{number:016x}" for number, name in enumerate(["0", "1", "q"])}
    for path in images.iterdir():
        landmark, name = path.stem.split("_")
        kind = "test" if name == "q" else "index"
        (tmp_path / kind).mkdir(exist_ok=True)
        first = "c" if landmark == "church" else "d"
        path.rename(tmp_path / kind / f"{first}{ids[name][1:]}.jpg")
    church, tower = (f"{first}{ids['q'][1:]}" for first in "cd")
    relevant = {
        query: f"{query[0]}{ids['0'][1:]} {query[0]}{ids['1'][1:]}" for query in (church, tower)
    }
    (tmp_path / "retrieval.csv").write_text(
        f"id,images,Usage\n{church},{relevant[church]},Public\n{tower},{relevant[tower]},Private\n"
    )
    (tmp_path / "recognition.csv").write_text(
        f"id,landmarks,Usage\n{church},1,Public\n{tower},2,Private\n"
    )
    (tmp_path / "train_clean.csv").write_text(
        f"landmark_id,images\n1,{relevant[church]}\n2,{relevant[tower]}\n"
    )
    index, test = tmp_path / "index", tmp_path / "test"
    done = dolg(
        *("evaluate", "gldv2-retrieval", "--solution", tmp_path / "retrieval.csv", "--json"),
        *("--index", index, "--queries", test),
    )
    scores = json.loads(done.out)["scores"]
    assert scores["Public"]["mAP@100"] == scores["Private"]["mAP@100"] == pytest.approx(1)
    done = dolg(
        *("evaluate", "gldv2-recognition", "--solution", tmp_path / "recognition.csv", "--json"),
        *("--labels", tmp_path / "train_clean.csv", "--train", index, "--queries", test),
    )
    scores = json.loads(done.out)["scores"]
    assert scores["Public"]["μAP"] == scores["Private"]["μAP"] == pytest.approx(1)


def test_the_command_is_a_group_of_the_benchmarks():
    assert [command.name for command in evaluate.app.registered_commands] == [
        "roxford5k",
        "rparis6k",
        "gldv2-retrieval",
        "gldv2-recognition",
        "folder",
    ]
