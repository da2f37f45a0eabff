"""`dolg index`, `dolg search` of an index, and `dolg dedupe`."""

import csv
import json

import numpy as np
import pytest
from bounds import DESCRIPTOR
from PIL import Image

from dolg_zoo.preprocessing import Crop
from dolg_zoo.retrieval import DescriptorStore, Index


@pytest.fixture
def indexed(dolg, photos, tmp_path):
    assert dolg("index", photos, "-o", tmp_path / "index").code == 0
    return tmp_path / "index"


def names_of(answer):
    return [match["name"] for match in answer["matches"]]


def test_an_index_is_searched_as_its_folder_is(dolg, photos, indexed):
    query = ("--query", photos / "rocket.png", "--json")
    of_folder, of_index = (
        json.loads(dolg("search", where, *query).out) for where in (photos, indexed)
    )
    assert of_index["matches"] == of_folder["matches"] and len(of_index["matches"]) == 4
    assert (of_index["images"], of_index["kind"], of_index["recall"]) == (4, "exact", 1.0)


def test_index_tells_what_it_made(dolg, photos, tmp_path, embedded_model):
    (photos / "bad.jpg").write_text("no image")
    done = dolg("index", photos, "-o", tmp_path / "index", "--scales", "0.5,1", "--json")
    answer = json.loads(done.out)
    assert (answer["images"], answer["kind"], answer["scales"]) == (4, "exact", [0.5, 1.0])
    assert answer["model_id"] == embedded_model.model_id
    assert [entry["name"] for entry in answer["skipped"]] == ["bad.jpg"]
    assert dolg("index", photos, "-o", tmp_path / "index", "--strict").code == 3


def test_an_index_of_a_store(dolg, tmp_path, embedded_model, rng):
    store = DescriptorStore.create(
        tmp_path / "store",
        model_id=embedded_model.model_id,
        model_name="a model",
        dim=512,
        scales=(1.0,),
    )
    store.append([f"{place}.jpg" for place in range(300)], rng.standard_normal((300, 512)))
    made = ("index", tmp_path / "store", "-o", tmp_path / "index", "--kind", "hnsw", "--json")
    answer = json.loads(dolg(*made).out)
    assert (answer["images"], answer["kind"]) == (300, "hnsw") and answer["recall"] >= 0.95
    assert dolg(*made, "--scales", "1").code == 2
    store.append(["new.jpg"], rng.standard_normal((1, 512)))
    answer = json.loads(dolg(*made, "--update", "--images", tmp_path).out)
    assert (answer["images"], answer["added"], answer["kind"]) == (301, 1, "hnsw")
    assert answer["folder"] == str(tmp_path)


def test_an_update_follows_the_folder_and_keeps_metadata(
    dolg, photos, indexed, embedded_model, embedded_images
):
    index = Index.load(indexed, embedded_model)
    index.metadata[index.names.index("coffee.png")]["title"] = "a cup"
    index.save(indexed)
    (photos / "rocket.png").rename(photos / "renamed.png")
    embedded_images.clear()
    answer = json.loads(dolg("index", photos, "-o", indexed, "--update", "--json").out)
    counts = {"added": 0, "changed": 0, "removed": 0, "kept": 4}
    assert answer["images"] == 4 and counts.items() <= answer.items()
    assert embedded_images == []
    found = json.loads(dolg("search", indexed, "-q", photos / "coffee.png", "--json").out)
    assert found["matches"][0]["metadata"] == {"title": "a cup"}
    assert "renamed.png" in names_of(found) and "rocket.png" not in names_of(found)


def test_an_update_after_the_folder_was_renamed_embeds_nothing_again(
    dolg, photos, indexed, tmp_path, embedded_images
):
    renamed = photos.rename(tmp_path / "renamed")
    Image.open(renamed / "rocket.png").rotate(90).save(renamed / "new.png")
    embedded_images.clear()
    done = dolg("index", renamed, "-o", indexed, "--update")
    assert "5 images (1 added, 0 changed, 0 removed, 4 kept)" in done.out
    assert embedded_images == ["new.png"]
    embedded_images.clear()
    moved = (tmp_path / "disk").mkdir() or renamed.rename(tmp_path / "disk" / "photos")
    assert dolg("dedupe", moved).code == 0
    assert embedded_images == []


def test_results_whose_files_are_gone_are_said_to_be(dolg, photos, indexed):
    (photos / "rocket.png").rename(photos / "renamed.png")
    (photos / "astronaut.png").unlink()
    query = ("search", indexed, "-q", photos / "coffee.png")
    done = dolg(*query)
    lines = {line.split()[2]: line for line in done.out.splitlines()}
    assert lines["rocket.png"].endswith("rocket.png  (missing)")
    assert lines["coffee.png"].endswith("coffee.png") and done.code == 0
    assert "2 of the images found are missing" in done.err
    assert "--update" in done.err and "--images" in done.err
    answer = json.loads(dolg(*query, "--json").out)
    missing = {match["name"] for match in answer["matches"] if match["missing"]}
    assert missing == {"rocket.png", "astronaut.png"}


def test_duplicates_whose_files_are_gone_are_said_to_be(dolg, photos, indexed):
    Image.open(photos / "coffee.png").save(photos / "copy.png")
    assert dolg("index", photos, "-o", indexed, "--update").code == 0
    (photos / "copy.png").unlink()
    done = dolg("dedupe", indexed)
    assert "copy.png  (missing)" in done.out and "1 of the images found are missing" in done.err


def test_nothing_is_missing_where_nothing_is(dolg, photos, indexed):
    for where in (photos, indexed):
        done = dolg("search", where, "-q", photos / "coffee.png")
        assert "missing" not in done.out + done.err


def test_images_are_removed_by_name(dolg, photos, indexed):
    done = dolg("index", "-o", indexed, "--remove", "rocket.png", "--remove", "far/chelsea.png")
    assert done.code == 0 and "2 images (0 added, 0 changed, 2 removed, 2 kept)" in done.out
    found = json.loads(dolg("search", indexed, "-q", photos / "rocket.png", "--json").out)
    assert sorted(names_of(found)) == ["astronaut.png", "coffee.png"]
    unknown = dolg("index", "-o", indexed, "--remove", "rocket.png")
    assert unknown.code == 1 and "'rocket.png'" in unknown.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["-o", "x"],
        ["photos", "-o", "x", "--remove", "a"],
        ["photos", "-o", "x", "--kind", "lsh"],
        ["photos", "-o", "x", "--recall", "1.5"],
        ["photos", "-o", "x", "--update", "--scales", "1"],
        ["photos"],
    ],
    ids=" ".join,
)
def test_wrong_usage_of_index_is_status_2(dolg, photos, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    assert dolg("index", *arguments).code == 2


def test_what_index_cannot_do_is_said_before_the_work(dolg, photos, tmp_path, embedded_images):
    (tmp_path / "file").touch()
    for arguments in (
        (photos, "-o", tmp_path / "file"),
        (photos, "-o", photos),
        (photos, "-o", tmp_path / "gone", "--update"),
        (tmp_path / "gone", "-o", tmp_path / "index"),
    ):
        done = dolg("index", *arguments)
        assert done.code == 1 and done.err.startswith("dolg: ")
    assert embedded_images == [] and not (tmp_path / "index").exists()


def test_an_index_of_another_model_is_refused(dolg, photos, indexed, embedded_model, tmp_path):
    index = Index.load(indexed, embedded_model)
    index.model_id = "0" * 32
    index.save(indexed)
    done = dolg("search", indexed, "-q", photos / "rocket.png")
    assert done.code == 1 and "0" * 32 in done.err and embedded_model.model_id in done.err


def test_the_images_of_an_index_may_have_moved(dolg, photos, indexed, tmp_path):
    photos.rename(tmp_path / "moved")
    query = ("-q", tmp_path / "moved" / "rocket.png", "-k", 1, "--json")
    found = json.loads(dolg("search", indexed, "--images", tmp_path / "moved", *query).out)
    assert found["matches"][0]["path"] == str(tmp_path / "moved" / "rocket.png")
    assert dolg("search", tmp_path / "moved", "--images", "x", *query).code == 2
    assert dolg("search", indexed, "--scales", "1", *query).code == 2


def test_a_box_searches_with_a_part_of_the_query(dolg, photos, embedded_model):
    query = photos / "far" / "chelsea.png"
    done = dolg("search", photos, "-q", query, "--box", "10,20,140,150", "--json")
    expected = embedded_model.embed(Crop(query, (10, 20, 140, 150))) @ embedded_model.embed(query).T
    best = json.loads(done.out)["matches"][0]
    assert best["name"] == "far/chelsea.png"
    assert best["score"] == pytest.approx(float(expected[0, 0]), abs=DESCRIPTOR)
    assert best["score"] < 0.999


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_a_part_of_the_query_is_drawn(dolg, photos, tmp_path, ending):
    picture = tmp_path / f"found.{ending}"
    query = ("-q", photos / "far" / "chelsea.png", "--box", "10,20,140,150")
    done = dolg("search", photos, *query, "--montage", picture)
    assert (done.code, len(done.out.splitlines())) == (0, 4) and picture.stat().st_size > 1000


@pytest.mark.parametrize("box", ["1,2,3", "a,b,c,d", "5,5,1,1", "nan,0,1,1"])
def test_a_box_that_is_none_is_wrong_usage(dolg, photos, box):
    done = dolg("search", photos, "-q", photos / "rocket.png", "--box", box)
    assert done.code == 2 and "x1,y1,x2,y2" in done.err


def test_a_box_beside_the_query_is_an_error(dolg, photos):
    done = dolg("search", photos, "-q", photos / "rocket.png", "--box", "900,900,950,950")
    assert done.code == 1 and "900" in done.err


def test_several_queries_and_a_bad_one_among_them(dolg, photos):
    (photos / "bad.jpg").write_text("no image")
    queries = [photos / "rocket.png", photos / "bad.jpg", photos / "coffee.png"]
    arguments = ["search", photos, "-k", 1, *(part for q in queries for part in ("-q", q))]
    done = dolg(*arguments, "--json")
    answer = json.loads(done.out)
    assert done.code == 0 and str(queries[1]) in [entry["name"] for entry in answer["skipped"]]
    assert [(r["query"], names_of(r)) for r in answer["results"]] == [
        (str(queries[0]), ["rocket.png"]),
        (str(queries[2]), ["coffee.png"]),
    ]
    assert dolg(*arguments, "--strict").code == 3
    assert dolg(*arguments, "--montage", "x.png").code == 2


def test_a_threshold_finds_all_that_is_as_near(dolg, photos, embedded_model):
    scores = embedded_model.similarity(photos / "rocket.png", photos)[0]
    threshold = float(np.sort(scores)[1:3].mean())  # between the third best and the fourth
    query = ("search", photos, "-q", photos / "rocket.png", "--threshold", threshold)
    assert len(json.loads(dolg(*query, "--json").out)["matches"]) == 2
    assert len(json.loads(dolg(*query, "-k", 1, "--json").out)["matches"]) == 1
    assert dolg(*query, "--expand", 1).code == 2


def test_expansion_and_reranking_are_those_of_the_index(dolg, photos, embedded_model):
    from dolg_zoo.retrieval import Ranking

    query = photos / "rocket.png"
    done = dolg("search", photos, "-q", query, "--expand", 2, "--rerank", 4, "--json")
    expected = Index.build(embedded_model, photos).search(
        query, ranking=Ranking(expand=2, rerank=4)
    )
    assert names_of(json.loads(done.out)) == [match.name for match in expected]


def test_a_folder_can_be_augmented_before_the_search(dolg, photos, embedded_model):
    query = photos / "rocket.png"
    found = json.loads(dolg("search", photos, "-q", query, "--dba", 2, "--json").out)["matches"]
    expected = Index.build(embedded_model, photos).augmented(2).search(query)
    assert [(each["name"], each["score"]) for each in found] == [
        (match.name, pytest.approx(match.score, abs=DESCRIPTOR)) for match in expected
    ]


def test_dedupe_lists_groups_and_deletes_nothing(dolg, photos):
    with Image.open(photos / "rocket.png") as picture:
        picture.resize((150, 150)).save(photos / "far" / "copy.png")
    before = sorted(photos.rglob("*"))
    answer = json.loads(dolg("dedupe", photos, "--json").out)
    (group,) = answer["groups"]
    assert [match["name"] for match in group] == ["far/copy.png", "rocket.png"]
    assert answer["threshold"] == 0.95 and answer["images"] == 5
    done = dolg("dedupe", photos)
    assert [line.split()[1] for line in done.out.splitlines()] == ["far/copy.png", "rocket.png"]
    assert "1 groups: 1 could go" in done.err
    assert sorted(photos.rglob("*")) == before


@pytest.fixture
def copied(photos):
    with Image.open(photos / "rocket.png") as picture:
        picture.resize((150, 150)).save(photos / "far" / "copy.png")
    return photos


def test_dedupe_names_the_keeper_and_writes_a_table(dolg, copied, tmp_path):
    table = tmp_path / "groups.csv"
    done = dolg("dedupe", copied, "--keep", "largest", "--csv", table)
    assert [line.split()[1] for line in done.out.splitlines()] == ["rocket.png", "far/copy.png"]
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(r["group"], r["keep"], r["name"]) for r in rows] == [
        ("1", "yes", "rocket.png"),
        ("1", "no", "far/copy.png"),
    ]
    assert float(rows[0]["score"]) == pytest.approx(1, abs=DESCRIPTOR)
    assert rows[1]["path"] == str(copied / "far/copy.png")
    answer = json.loads(dolg("dedupe", copied, "--keep", "largest", "--json").out)
    assert [each["keep"] for each in answer["groups"][0]] == [True, False]


@pytest.mark.parametrize("how", ["--move-to", "--link-to"])
def test_dedupe_puts_the_others_aside_and_a_second_run_has_nothing_to_do(
    dolg, copied, tmp_path, how
):
    images = {path.name: path.read_bytes() for path in copied.rglob("*.png")}
    done = dolg("dedupe", copied, "--keep", "largest", how, tmp_path / "aside")
    assert done.code == 0 and "1 " in done.err and str(tmp_path / "aside") in done.err
    assert (tmp_path / "aside/far/copy.png").read_bytes() == images["copy.png"]
    assert (copied / "far/copy.png").exists() is (how == "--link-to")
    assert dolg("dedupe", copied, "--keep", "largest", how, tmp_path / "aside").code == 0
    assert [p.name for p in (tmp_path / "aside").rglob("*") if not p.is_dir()] == ["copy.png"]
    there = {path.name for folder in (copied, tmp_path / "aside") for path in folder.rglob("*.png")}
    assert there == set(images)


def test_dedupe_that_cannot_move_says_so_after_the_good_part(dolg, copied, tmp_path):
    (tmp_path / "file").write_text("no folder")
    done = dolg("dedupe", copied, "--move-to", tmp_path / "file")
    assert done.code == 1 and "file" in done.err and (copied / "far/copy.png").exists()
    for inside in (copied, copied / "aside"):
        done = dolg("dedupe", copied, "--move-to", inside)
        assert done.code == 1 and "outside" in done.err
    done = dolg("dedupe", copied, "--move-to", tmp_path / "a", "--link-to", tmp_path / "b")
    assert done.code == 2
    assert dolg("dedupe", copied, "--keep", "newest").code in (1, 2)
    assert len(list(copied.rglob("*.png"))) == 5


def test_dedupe_of_an_index_without_any(dolg, indexed):
    done = dolg("dedupe", indexed, "--threshold", 1)
    assert (done.code, done.out) == (0, "")


def test_names_in_an_index_that_would_garble_a_terminal_are_escaped(dolg, photos, tmp_path):
    for name in ("a\x1b[31m\n.png", "b\x1b[31m\n.png"):
        (photos / name).write_bytes((photos / "rocket.png").read_bytes())
    dolg("index", photos, "-o", tmp_path / "index")
    done = dolg("dedupe", tmp_path / "index")
    assert done.code == 0 and r"\x1b[31m\n.png" in done.out and "\x1b" not in done.out


def test_an_index_that_is_not_there_is_named_with_what_makes_one(dolg, tmp_path, photos):
    done = dolg("search", tmp_path / "no.index", "--query", photos / "coffee.png")
    assert done.code == 1
    assert "no.index" in done.err and "dolg index DIR" in done.err
