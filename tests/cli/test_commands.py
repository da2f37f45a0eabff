import json
import os
import re
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from bounds import COSINE, DESCRIPTOR
from PIL import Image

import dolg_zoo
from dolg_zoo.cli.reporting import print_json
from dolg_zoo.retrieval import Index

DEFAULT = "dolg_efficientnet_lite_b0_places_products"


def has_control_characters(text):
    return any(unicodedata.category(char) in ("Cc", "Cs") and char != "\n" for char in text)


def test_version(dolg):
    done = dolg("--version")
    assert (done.code, done.out) == (0, f"dolg-zoo {dolg_zoo.__version__}\n")


def test_runtimes_are_listed_with_one_hint_each_and_their_speed_for_a_preset(
    dolg, monkeypatch, tmp_path
):
    from dolg_zoo.embedders.compiled import known_model_id
    from dolg_zoo.presets import resolve_preset
    from dolg_zoo.runtimes import measured, registry

    monkeypatch.setenv("DOLG_ZOO_CACHE", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    find = registry.is_installed
    monkeypatch.setattr(registry, "is_installed", lambda n: n != "openvino" and find(n))
    measured._remember(known_model_id(resolve_preset()), {"litert": 12.5})
    out = dolg("info", "--runtimes").out
    assert out.count("pip install 'dolg-zoo[openvino]'") == 1
    assert re.search(r"litert\s+\S+\s+12\.5", out)


def test_presets_lists_what_the_manifest_has(dolg):
    names = list(dolg_zoo.weights.load_manifest().entries)
    assert [entry["name"] for entry in json.loads(dolg("presets", "--json").out)] == names
    table = dolg("presets").out
    assert all(name in table for name in names)


@pytest.fixture
def nothing_cached(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


def test_the_constructors_are_listed_with_their_size_and_weights(dolg, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    listed = json.loads(dolg("presets", "--constructors", "--json").out)
    assert [row["name"] for row in listed] == [f"dolg_{name}" for name in dolg_zoo.BACKBONES]
    row = next(row for row in listed if row["name"] == "dolg_resnet50")
    assert row["bytes"] == 4 * row["parameters"] > 90e6

    table = dolg("presets", "--constructors").out
    assert all(len(line) <= 80 for line in table.splitlines()[:-1])
    assert "hf://timm/resnet50.tv_in1k" in table


@pytest.mark.parametrize("columns", [80, 100])
def test_the_table_of_presets_has_a_line_for_each_fact(dolg, nothing_cached, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = [" ".join(line.split()) for line in dolg("presets").out.splitlines()]
    start = lines.index("dolg_resnet50_gldv2 265 MiB GLDv2-clean")
    assert lines[start + 1 :][:3] == [
        "81.20 % mAP ROxford medium 512 MIT",
        "62.55 % mAP ROxford hard not cached",
        "+22 more",
    ]
    assert "85.20 % leave-one-out mAP 265 512 Apache-2.0" in lines
    assert any(line.endswith("photographs of 5 places in the package") for line in lines)
    assert all(len(line) <= columns for line in dolg("presets").out.splitlines())


def test_presets_as_json_has_all_of_the_manifest(dolg, nothing_cached):
    entries = {entry["name"]: entry for entry in json.loads(dolg("presets", "--json").out)}
    path = Path(dolg_zoo.__file__).parents[1] / "weights_manifest.json"
    stated = json.loads(path.read_text(encoding="utf-8"))
    for name, fields in {**stated["presets"], **stated["checkpoints"]}.items():
        entry = entries.pop(name)
        figures = [{"note": "", **figure} for figure in fields["figures"]]
        assert entry["figures"] == figures
        files = fields.get("files") or {
            fields["file"]: {"size": fields["size"], "sha256": fields["sha256"]}
        }
        assert entry["files"] == files
        assert entry["bytes"] == sum(file["size"] for file in files.values())
        if fields.get("source") == "embedded":
            assert (entry["state"], entry["repo"]) == ("in the package", None)
        else:
            assert entry["state"] == "not cached"
        said = fields.keys() - {"source", "files", "file", "size", "sha256", "figures"}
        assert {key: entry[key] for key in said} == {key: fields[key] for key in said}
    assert entries == {}


def test_presets_says_what_was_converted(dolg, nothing_cached, official_stand_in, monkeypatch):
    monkeypatch.setenv("DOLG_ZOO_CACHE", str(official_stand_in))
    states = {e["name"]: e["state"] for e in json.loads(dolg("presets", "--json").out)}
    assert states["dolg_resnet50_gldv2"] == "converted"
    assert states["dolg_resnet101_gldv2"] == "not cached"


def test_info_is_true_of_the_model(dolg, embedded_model):
    facts = json.loads(dolg("info", DEFAULT, "--json").out)
    assert facts["parameters"] == 4_940_834  # the count_params() of DOLG.from_preset()
    assert facts["architecture"]["descriptor_dim"] == 512
    assert facts["input"] == embedded_model.image_converter.to_config()
    assert facts["license"] == "Apache-2.0"
    pinned = dolg_zoo.weights.load_manifest().presets[DEFAULT].files
    assert facts["sha256"] == {name: file.sha256 for name, file in pinned.items()}
    assert facts["bytes"] == sum(file.size for file in pinned.values())


def test_info_in_words(dolg, embedded_model):
    text = dolg("info").out
    sha256 = embedded_model.metadata["sha256"]["model.weights.h5"]
    for part in (DEFAULT, "block6a_expand_activation, P5", "4,940,834", "Apache-2.0", sha256):
        assert part in text


def test_info_of_the_official_weights(dolg, official_stand_in, monkeypatch):
    monkeypatch.setenv("DOLG_ZOO_CACHE", str(official_stand_in))
    entry = dolg_zoo.weights.load_manifest().checkpoints["dolg_resnet50_gldv2"]
    text = " ".join(dolg("info", entry.name).out.split())
    for part in (
        "License MIT As the code of feymanpriv/DOLG",
        "Trained on GLDv2-clean",
        "a third party's upload of their file",
        "0.3535, 0.5, 0.7071, 1, 1.4142",
        "has more than 1024 pixels",
        "bilinear, without antialias",
        "cropped to the box of the landmark",
        "load_margin_head()",
        f"r50_dolg_512.pt of Shiro/DOLG at {entry.file.revision}, sha256 {entry.file.sha256}",
        "81.20 % mAP ROxford medium feymanpriv/DOLG README, query cropped",
        "36 of 70 ROxford and 38 of 70 RParis queries",
    ):
        assert part in text
    facts = json.loads(dolg("info", entry.name, "--json").out)
    assert len(facts["figures"]) == 24 and facts["source"]["sha256"] == entry.file.sha256


def test_info_without_a_network_shows_what_the_list_says(dolg, monkeypatch):
    from dolg_zoo.weights import DownloadError

    def refuse(preset):
        raise DownloadError("there is no network")

    monkeypatch.setattr("dolg_zoo.cli.info.resolve", refuse)
    done = dolg("info", "dolg_resnet101_gldv2")
    assert done.code == 1 and "there is no network" in done.err
    assert "82.37" in done.out and "36 of 70 ROxford" in done.out
    assert dolg("info", "dolg_resnet101_gldv2", "--json").out == ""
    assert dolg("info", "hf://someone/else").out == ""


def test_search_at_other_scales(dolg, photos, embedded_model):
    one = json.loads(dolg("search", photos, "-q", photos / "rocket.png", "--json").out)
    two = dolg("search", photos, "-q", photos / "rocket.png", "--json", "--scales", "0.5,1")
    expected = embedded_model.similarity(
        photos / "rocket.png", photos / one["matches"][1]["name"], scales=(0.5, 1.0)
    )
    scores = {match["name"]: match["score"] for match in json.loads(two.out)["matches"]}
    assert scores[one["matches"][1]["name"]] == pytest.approx(expected[0, 0], abs=1e-5)
    assert abs(one["matches"][1]["score"] - expected[0, 0]) > 1e-3


def test_embed_takes_the_scales_of_the_preset(dolg, photos, tmp_path, embedded_model, monkeypatch):
    import dataclasses

    converter = dataclasses.replace(embedded_model.image_converter, scales=(0.5, 1.0))
    own = dolg_zoo.DOLG(embedded_model.net, converter)
    own.save_to_preset(tmp_path / "mine")
    out = tmp_path / "x.npz"
    done = dolg("embed", photos, "-o", out, "--preset", tmp_path / "mine", "--json")
    assert json.loads(done.out)["scales"] == [0.5, 1.0]
    with np.load(out) as file:
        assert np.allclose(
            file["descriptors"][0], own.embed(photos / file["names"][0])[0], atol=COSINE
        )


def test_info_of_a_folder(dolg, embedded_model, tmp_path):
    embedded_model.save_to_preset(tmp_path / "mine")
    facts = json.loads(dolg("info", tmp_path / "mine", "--json").out)
    assert facts["preset"] == str(tmp_path / "mine")
    size = sum(path.stat().st_size for path in (tmp_path / "mine").iterdir())
    assert facts["bytes"] == size and len(facts["sha256"]) == 3
    assert facts["parameters"] == embedded_model.count_params()
    assert facts["backbone_layers"] == len(embedded_model.net.backbone.layers)


def test_embed_writes_what_its_help_says(dolg, photos, tmp_path, embedded_model):
    out = tmp_path / "descriptors.npz"
    done = dolg("embed", photos, "-o", out, "--json")
    assert done.code == 0 and json.loads(done.out)["images"] == 4
    with np.load(out) as file:
        names, descriptors, preset = file["names"], file["descriptors"], file["model_name"]
    assert names.tolist() == ["astronaut.png", "coffee.png", "far/chelsea.png", "rocket.png"]
    assert descriptors.dtype == np.float32 and preset == DEFAULT
    np.testing.assert_allclose(descriptors, embedded_model.embed(photos), atol=DESCRIPTOR)


def test_embed_does_not_take_images_of_another_folder_for_known_ones(
    dolg, photos, tmp_path, embedded_images
):
    for folder, name in (("a", "coffee.png"), ("b", "rocket.png")):
        (tmp_path / folder).mkdir()
        Image.open(photos / name).save(tmp_path / folder / "1.png")
    assert dolg("embed", tmp_path / "a", "-o", tmp_path / "out").code == 0
    assert "1 kept" in dolg("embed", f"{tmp_path}/a/", "-o", tmp_path / "out").out
    del embedded_images[:]
    done = dolg("embed", f"{tmp_path}/b/*.png", "-o", tmp_path / "out")
    assert done.code == 1 and done.out == "" and not embedded_images
    assert f"'{tmp_path}/a'" in done.err and f"'{tmp_path}/b'" in done.err
    done = dolg("embed", tmp_path / "b", "-o", tmp_path / "out", "--moved")
    assert done.code == 0 and "1 changed" in done.out


def test_what_embed_wrote_can_be_searched(dolg, photos, tmp_path, embedded_model):
    assert dolg("embed", photos, "-o", tmp_path / "x.npz", "--scales", "0.5,1").code == 0
    index = Index.load(tmp_path / "x.npz", embedded_model, photos)
    assert index.search(photos / "rocket.png")[0].name == "rocket.png"
    assert index.scales == (0.5, 1.0)


@pytest.mark.parametrize("scales", ["", "a", "0", "1,,2", "-1", "nan", "inf"])
def test_scales_that_are_none_are_wrong_usage(dolg, photos, tmp_path, scales):
    done = dolg("embed", photos, "-o", tmp_path / "x.npz", f"--scales={scales}")
    assert done.code == 2 and "0.7071,1,1.4142" in done.err


def test_an_option_may_begin_at_the_home_folder(dolg, photos, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    query = "--query=~/photos/coffee.png"
    done = dolg("search", "~/photos", query, "--montage=~/found.png", "--json")
    assert done.code == 0 and (tmp_path / "found.png").is_file()
    assert json.loads(done.out)["matches"][0]["name"] == "coffee.png"
    assert dolg("embed", "~/photos", "--output=~/out.npz").code == 0
    assert (tmp_path / "out.npz").is_file()


def test_the_query_can_be_left_out_of_its_results(dolg, photos, tmp_path):
    query = ("--query", photos / "rocket.png", "--exclude-self", "--json")
    names = ["astronaut.png", "coffee.png", "far/chelsea.png"]
    for options, count in (((), 3), (("-k", 2), 2), (("--threshold", -1), 3)):
        found = [
            match["name"]
            for match in json.loads(dolg("search", photos, *query, *options).out)["matches"]
        ]
        assert len(found) == count and set(found) <= set(names)
    elsewhere = tmp_path / "elsewhere.png"
    elsewhere.write_bytes((photos / "rocket.png").read_bytes())
    done = dolg("search", photos, "--query", elsewhere, "--exclude-self", "-k", 2, "--json")
    assert json.loads(done.out)["matches"][0]["name"] == "rocket.png"


def test_a_search_says_how_many_images_were_embedded(dolg, photos, tmp_path):
    query = ("--query", photos / "rocket.png")
    assert dolg("search", photos, *query).err == "4 images, 4 of them embedded now\n"
    assert dolg("search", photos, *query).err == "4 images, 0 of them embedded now\n"
    dolg("index", photos, "-o", tmp_path / "x.index")
    assert dolg("search", tmp_path / "x.index", *query).err == "4 images in the index\n"


def test_search_finds_and_draws(dolg, photos, tmp_path):
    query = tmp_path / "query.jpg"
    Image.open(photos / "far" / "chelsea.png").crop((10, 20, 140, 150)).save(query)
    picture = tmp_path / "found.png"
    done = dolg("search", photos, "--query", query, "-k", 2, "--montage", picture, "--json")
    answer = json.loads(done.out)
    assert done.code == 0 and [match["rank"] for match in answer["matches"]] == [1, 2]
    assert answer["matches"][0]["name"] == "far/chelsea.png"
    assert answer["matches"][0]["path"] == str(photos / "far" / "chelsea.png")
    with Image.open(picture) as drawn:
        drawn.load()
        assert drawn.format == "PNG"
        assert drawn.width > 3 * 180 and drawn.height > 180


def test_search_in_words_is_one_line_a_result(dolg, photos):
    done = dolg("search", photos, "--query", photos / "rocket.png", "-k", 3)
    lines = done.out.splitlines()
    assert len(lines) == 3 and lines[0].split() == ["1", "1.000", "rocket.png"]


def test_a_second_search_embeds_the_query_alone(dolg, photos, embedded_images):
    search = ("search", photos, "--query", photos / "rocket.png", "--json")
    first = json.loads(dolg(*search).out)
    assert len(embedded_images) == 4 + 1
    second = json.loads(dolg(*search).out)
    assert len(embedded_images) == 4 + 2
    assert second["matches"] == first["matches"]
    assert (first["from_cache"], second["from_cache"]) == (0, 4)


def test_after_a_search_no_other_command_embeds_the_folder(dolg, photos, tmp_path, embedded_images):
    Image.open(photos / "coffee.png").save(photos / "far" / "copy.png")  # a class of two
    dolg("search", photos, "--query", photos / "rocket.png")
    del embedded_images[:]
    for command in (
        ("evaluate", "folder", photos),
        ("map", photos, "-o", tmp_path / "map.png"),
        ("dedupe", photos),
        ("index", photos, "-o", tmp_path / "index"),
        ("embed", photos, "-o", tmp_path / "all.npz"),
    ):
        assert dolg(*command).code == 0, command
        assert embedded_images == [], command


def test_names_that_would_garble_a_terminal_are_escaped(dolg, photos):
    strange = "[red]x\n\x1b[31m" + os.fsdecode(b"\xff") + ".png"
    (photos / "rocket.png").rename(photos / strange)
    (photos / ("bad\x1b[2J\n[bold].jpg")).write_text("no image")
    done = dolg("search", photos, "--query", photos / strange, "-k", 1)
    assert done.code == 0
    assert r"[red]x\n\x1b[31m\udcff.png" in done.out
    assert r"bad\x1b[2J\n[bold].jpg" in done.err
    assert not has_control_characters(done.out) and not has_control_characters(done.err)


def test_what_a_presets_metadata_says_is_escaped(dolg, embedded_model, tmp_path):
    embedded_model.save_to_preset(tmp_path / "mine")
    path = tmp_path / "mine" / "metadata.json"
    metadata = json.loads(path.read_text())
    metadata["license"] = metadata["provenance"] = "\x1b[31m[bold]"
    metadata["sha256"]["\x1b[2J"] = "0" * 64
    path.write_text(json.dumps(metadata))
    done = dolg("info", tmp_path / "mine")
    assert done.code == 0 and r"\x1b[31m[bold]" in done.out
    assert not has_control_characters(done.out) and not has_control_characters(done.err)


def test_json_holds_no_number_that_json_does_not_know(capsys):
    with pytest.raises(ValueError, match="JSON"):
        print_json({"score": float("nan")})
    assert capsys.readouterr().out == ""


def test_an_errors_message_is_escaped(dolg, tmp_path):
    (tmp_path / "no\x1b[31mpreset").mkdir()
    done = dolg("info", tmp_path / "no\x1b[31mpreset")
    assert done.code == 1 and r"no\x1b[31mpreset" in done.err
    assert not has_control_characters(done.err)


def test_json_gives_strange_names_back_exactly(dolg, photos):
    strange = "[red]x\n\x1b[31m" + os.fsdecode(b"\xff") + ".png"
    (photos / "rocket.png").rename(photos / strange)
    done = dolg("search", photos, "--query", photos / strange, "-k", 1, "--json")
    assert json.loads(done.out)["matches"][0]["name"] == strange


def test_demo_on_the_photographs_that_ship(dolg, tmp_path):
    done = dolg("demo", "--montage", tmp_path / "found.png", "--json")
    answer = json.loads(done.out)
    assert done.code == 0 and answer["queries"] == 6 and answer["gallery"] == 48
    assert answer["recall_at_1"] >= 0.9
    with Image.open(tmp_path / "found.png") as drawn:
        assert drawn.format == "PNG" and drawn.height > 6 * 140


def test_demo_in_words(dolg, photos):
    done = dolg("demo", photos)
    assert done.code == 0 and done.err == ""
    assert "4 photographs of the 4 in the folder" in done.out
    assert "recall@1" in done.out and "mAP" in done.out


# how it ends


@pytest.fixture
def outputs(photos, tmp_path):
    """Arguments of the three commands that read a folder."""
    return {
        "embed": lambda folder: ("embed", folder, "-o", tmp_path / "x.npz"),
        "search": lambda folder: ("search", folder, "--query", photos / "rocket.png"),
        "demo": lambda folder: ("demo", folder),
    }


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("embed", "d.npy"),
        ("embed", "d.parquet"),
        ("embed", "d.CSV"),
        ("embed", "d.NPZ"),
        ("index", "d.npz"),
        ("index", "d.faiss"),
        ("whiten", "d.keras"),
        ("train", "d.h5"),
        ("export", "d.onnx"),
        ("export", "d.h5"),
    ],
)
def test_a_folder_is_not_written_under_a_name_of_a_file(
    dolg, photos, tmp_path, command, name, embedded_images
):
    given = {"train": ["--data", photos], "export": []}.get(command, [photos])
    done = dolg(command, *given, "-o", tmp_path / name)
    assert done.code == 1 and done.out == "" and not embedded_images
    assert f"{name}'" in done.err and "folder" in done.err and done.err.count("\n") == 1
    assert not (tmp_path / name).exists()


def test_a_folder_that_is_there_may_have_any_name(dolg, photos, tmp_path):
    (tmp_path / "d.parquet").mkdir()
    (tmp_path / "v1.2").mkdir()
    for name in ("d.parquet", "v1.2", "v1.3"):
        assert dolg("embed", photos, "-o", tmp_path / name).code == 0


@pytest.mark.parametrize("command", ["embed", "search", "demo"])
def test_a_missing_folder_is_an_error(dolg, outputs, tmp_path, command):
    done = dolg(*outputs[command](tmp_path / "gone"))
    assert (done.code, done.out) == (1, "")
    assert done.err.count("\n") == 1 and str(tmp_path / "gone") in done.err


@pytest.mark.parametrize("command", ["embed", "search", "demo"])
def test_an_empty_folder_is_an_error(dolg, outputs, tmp_path, command):
    (tmp_path / "empty").mkdir()
    done = dolg(*outputs[command](tmp_path / "empty"))
    assert done.code == 1 and "no image in" in done.err and "Traceback" not in done.err


def test_a_missing_query_is_an_error(dolg, photos):
    done = dolg("search", photos, "--query", photos / "gone.jpg")
    assert done.code == 1 and "gone.jpg" in done.err and done.out == ""


def test_a_query_that_is_no_image_is_an_error(dolg, photos):
    (photos / "bad.jpg").write_text("no image")
    done = dolg("search", photos, "--query", photos / "bad.jpg")
    assert done.code == 1 and "bad.jpg" in done.err


@pytest.mark.parametrize("command", ["embed", "search", "demo"])
def test_an_unknown_preset_is_an_error_that_lists_those_there_are(dolg, outputs, photos, command):
    done = dolg(*outputs[command](photos), "--preset", "dolg_nothing")
    assert done.code == 1 and "dolg_nothing" in done.err and DEFAULT in done.err


@pytest.mark.parametrize("command", ["embed", "search", "demo"])
def test_a_bad_image_is_skipped_and_named(dolg, outputs, photos, command):
    (photos / "bad.jpg").write_text("no image")
    done = dolg(*outputs[command](photos))
    assert done.code == 0 and done.out
    assert "1 could not be read" in done.err and "bad.jpg" in done.err


@pytest.mark.parametrize("command", ["embed", "search", "demo"])
def test_a_bad_image_with_strict_is_status_3_and_the_rest_is_done(
    dolg, outputs, photos, command, tmp_path
):
    (photos / "bad.jpg").write_text("no image")
    done = dolg(*outputs[command](photos), "--strict", "--json")
    assert done.code == 3
    (skipped,) = json.loads(done.out)["skipped"]
    assert skipped["name"].endswith("bad.jpg") and "formats" in skipped["reason"]
    assert (tmp_path / "x.npz").is_file() == (command == "embed")


@pytest.mark.parametrize("command", ["embed", "search", "demo"])
def test_strict_without_a_bad_image_is_status_0(dolg, outputs, photos, command):
    assert dolg(*outputs[command](photos), "--strict").code == 0


@pytest.mark.parametrize(
    "arguments",
    [["frobnicate"], ["search", "."], ["embed", "."], ["info", "--frob"], ["info", 1, 2]],
)
def test_wrong_usage_is_status_2(dolg, arguments):
    assert dolg(*arguments).code == 2


def test_k_below_one_is_wrong_usage(dolg, photos):
    assert dolg("search", photos, "--query", photos / "rocket.png", "-k", 0).code == 2


@pytest.mark.parametrize("output", ["gone/x.npz", "."])
def test_an_output_that_cannot_be_written_is_said_before_the_work(
    dolg, photos, tmp_path, output, embedded_images
):
    for arguments in (
        ("embed", photos, "-o", tmp_path / output),
        ("search", photos, "--query", photos / "rocket.png", "--montage", tmp_path / output),
        ("demo", photos, "--montage", tmp_path / output),
    ):
        assert dolg(*arguments).code == 1
    assert embedded_images == []


@pytest.mark.parametrize("command", ["search", "demo"])
def test_a_picture_of_no_known_format_is_said_before_the_work(
    dolg, photos, tmp_path, embedded_images, command
):
    query = ("--query", photos / "rocket.png") if command == "search" else ()
    done = dolg(command, photos, *query, "--montage", tmp_path / "found.psd")
    assert done.code == 1 and ".png, .svg, .jpg, .jpeg, .webp" in done.err
    assert embedded_images == []


def test_an_interruption_is_status_130(dolg, photos, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(Index, "build", interrupted)
    done = dolg("search", photos, "--query", photos / "rocket.png")
    assert (done.code, done.out, done.err) == (130, "", "Interrupted.\n")


def failing(monkeypatch):
    def fail(*_):
        raise KeyError("surprise")

    monkeypatch.setattr("dolg_zoo.cli.options.load_embedder", fail)


def test_an_unexpected_error_is_one_message(dolg, photos, monkeypatch):
    failing(monkeypatch)
    done = dolg("embed", photos, "-o", "x.npz")
    assert done.code == 1 and "KeyError" in done.err and done.err.count("\n") == 1


@pytest.mark.parametrize("how", ["option", "variable"])
def test_debug_lets_the_traceback_through(dolg, photos, monkeypatch, how):
    failing(monkeypatch)
    arguments = ["embed", photos, "-o", "x.npz"]
    if how == "option":
        arguments.insert(0, "--debug")
    else:
        monkeypatch.setenv("DOLG_DEBUG", "1")
    # SystemExit would be caught by the fixture; the error itself comes through
    with pytest.raises(KeyError):
        dolg(*arguments)
