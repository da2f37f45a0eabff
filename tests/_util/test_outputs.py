"""Nothing of the user's is written over, and our own pictures are known again."""

import os
import shutil
import tarfile
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from plain_embedder import PlainEmbedder
from small_model import small_model

from dolg_zoo._util.outputs import PICTURE, check_output, is_own_picture, writing
from dolg_zoo._util.own_folders import RUN
from dolg_zoo.drawing.style import write_picture
from dolg_zoo.errors import OutputError
from dolg_zoo.explaining import Explanation
from dolg_zoo.explaining.side import Side
from dolg_zoo.exporting import plan_export
from dolg_zoo.preprocessing import Crop, ImageConverter, list_images, load_image
from dolg_zoo.retrieval import DescriptorStore, Index, Match, Picture, extract, montage
from dolg_zoo.retrieval.extraction.sources import open_source

SETTINGS = {"model_id": "0" * 32, "model_name": "plain", "dim": 12, "scales": (1.0,)}
FOREIGN = '{"my": "own"}'


def explanation(*names):
    square = Image.new("RGB", (20, 20))
    return Explanation(tuple(Side(name, square, np.ones((2, 2))) for name in names), None, "plain")


def index_of(photos):
    return Index.build(PlainEmbedder(), photos)


@cache
def model():
    return small_model()


WRITERS = {  # the name to write under, and what writes there from the photographs in a folder
    "montage": ("found.jpg", lambda photos, out: montage(photos / "rocket.png", [], out)),
    "explanation": ("why.webp", lambda photos, out: explanation("rocket.png").save(out)),
    "index": ("my.index", lambda photos, out: index_of(photos).save(out)),
    "index in a file": ("my.npz", lambda photos, out: index_of(photos).save(out)),
    "store": ("store", lambda photos, out: DescriptorStore.create(out, **SETTINGS)),
    "extraction": ("store", lambda photos, out: extract(PlainEmbedder(), photos, out)),
    "export": (
        "my.tflite",
        lambda photos, out: plan_export(out, "litert", "float32", None, ImageConverter(size=64)),
    ),
    "preset": ("preset", lambda photos, out: model().save_to_preset(out)),
}


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("how", ["itself", "a link", "a hard link", "another kind"])
def test_what_is_the_users_stays(photos, tmp_path, writer, how):
    name, write = WRITERS[writer]
    mine, out = tmp_path / "mine" / name, tmp_path / "out" / name
    mine.parent.mkdir()
    out.parent.mkdir()
    if (is_file := "." in name and name != "my.index") and how == "another kind":
        mine.mkdir()
    elif is_file or how == "another kind":
        mine.write_bytes((photos / "rocket.png").read_bytes())
    else:  # as of another program whose files have the same names
        mine.mkdir()
        for file in ("config.json", "store.json", "index.json", "metadata.json"):
            (mine / file).write_text(FOREIGN)
    if how == "a link":
        out.symlink_to(mine)
    elif how == "a hard link" and mine.is_file():
        os.link(mine, out)
    else:
        mine.rename(out)
    before = contents(tmp_path)
    with pytest.raises(OSError, match=name) as refused:
        write(photos, out)
    assert how == "another kind" or isinstance(refused.value, OutputError)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("writer", sorted(WRITERS.keys() - {"export"}))
def test_an_earlier_output_is_replaced_and_so_is_what_holds_nothing(photos, tmp_path, writer):
    name, write = WRITERS[writer]
    out = tmp_path / name
    if out.suffix and writer != "index":
        out.touch()
    else:
        out.mkdir()
        (out / ".DS_Store").write_text("of a file manager")
    for _ in range(2):
        write(photos, out)
    assert out.stat().st_size


def test_what_comes_during_the_work_stays(tmp_path):
    def write(file, kind):
        (tmp_path / "found.png").write_text("a letter")
        Image.new("RGB", (9, 9)).save(file, kind)

    with pytest.raises(OutputError, match=r"found\.png"):
        write_picture(tmp_path / "found.png", write)
    assert (tmp_path / "found.png").read_text() == "a letter"


@pytest.mark.parametrize(
    "source", [str, lambda path: path, lambda path: Crop(path, (0, 0, 9, 9)), Image.open, open]
)
def test_an_input_is_not_written_over_though_it_is_ours(photos, tmp_path, monkeypatch, source):
    montage(photos / "rocket.png", [], photos / "found.png")
    (tmp_path / "link.png").symlink_to(photos / "found.png")
    monkeypatch.chdir(photos / "far")
    for name in ("../found.png", tmp_path / "link.png", photos / "FOUND.png"):
        if Path(name).exists():  # which the last one does where case counts for nothing
            with (
                pytest.raises(OutputError, match="input"),
                writing(name, PICTURE, [source(photos / "found.png")]),
            ):
                raise AssertionError
    with pytest.raises(OutputError, match="input"):
        montage(
            photos / "rocket.png", [Match("a", photos / "found.png", 1.0)], photos / "found.png"
        )
    with pytest.raises(OutputError, match="input"):
        explanation(str(photos / "found.png"), "b").save(photos / "found.png")


@pytest.mark.parametrize("beside", ["my.json", "my.bin"])
def test_what_lies_beside_an_export_stays(tmp_path, beside):
    format, name = {"my.json": ("litert", "my.tflite"), "my.bin": ("openvino", "my.xml")}[beside]
    pytest.importorskip("openvino" if format == "openvino" else "ai_edge_litert")
    (tmp_path / beside).write_text(FOREIGN)
    (tmp_path / name).touch()  # which is no export
    with pytest.raises(OutputError, match=beside):
        plan_export(tmp_path / name, format, "float32", None, ImageConverter(size=64))


@pytest.mark.parametrize("theirs", ["history.json", "curves.png", "checkpoints/step_1.pt"])
def test_a_folder_with_names_of_a_run_is_no_run(tmp_path, theirs):
    (tmp_path / "checkpoints").mkdir()
    check_output(tmp_path, RUN)  # as a run that was killed early leaves it
    (tmp_path / theirs).write_text('{"theirs": 1}')
    with pytest.raises(OutputError, match="training run"):
        check_output(tmp_path, RUN)


def test_a_run_is_not_begun_in_a_folder_of_photographs(photos):
    from dolg_zoo.training import TrainingConfig, train

    config = TrainingConfig.from_dict(
        {"data": {"folder": str(photos)}, "model": {"preset": "small"}}
    )
    with pytest.raises(OutputError, match="training run"):
        train(config, photos)


ENDINGS = ("", ".png", ".JPG", ".jpeg", ".webp", ".svg")


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("writer", ["montage", "explanation"])
def test_each_picture_bears_the_mark_and_is_read_as_ever(photos, tmp_path, writer, ending):
    out = tmp_path / f"found{ending}"
    WRITERS[writer][1](photos, out)
    assert is_own_picture(out) and is_own_picture(out.read_bytes())
    if ending == ".svg":
        assert "dolg-zoo" in "".join(ElementTree.parse(out).getroot().itertext())
        return
    with Image.open(out) as image:
        image.load()
        assert "dolg-zoo" in str({**image.info, **image.getexif()})
    assert load_image(out).width > 100  # one that is named is an image like any other


def test_own_pictures_are_passed_over_wherever_a_folder_is_read(photos, tmp_path, monkeypatch):
    names = {path.name for path in list_images(photos)}
    for number, ending in enumerate(ENDINGS):
        montage(photos / "rocket.png", [], photos / f"far/found{number}{ending}")
    shutil.copy(photos / "far/found1.png", photos / "copy.png")
    explanation("rocket.png").save(photos / "why.jpg")
    assert {path.name for path in list_images(photos)} == names
    assert {path.rpartition("/")[2] for path in index_of(photos).names} == names
    assert len(PlainEmbedder().embed(photos)) == len(names)
    assert len(open_source(str(photos / "**/*"))) == len(names)
    assert len(open_source(photos / "why.jpg")) == 1  # as it is named
    with tarfile.open(tmp_path / "shard.tar", "w") as shard:
        shard.add(photos, "photos")
    report = extract(PlainEmbedder(), tmp_path / "shard.tar", tmp_path / "store")
    assert len(report.store) == len(names) and not report.skipped


def test_a_photograph_is_none_of_ours(photos, tmp_path):
    padded = tmp_path / "padded.png"
    data = (photos / "rocket.png").read_bytes()
    padded.write_bytes(data + b"\n" * (-len(data) % 4096))
    (tmp_path / "empty.png").touch()
    (tmp_path / "folder.png").mkdir()
    for path in (padded, *tmp_path.glob("*.png"), tmp_path / "none.png"):
        assert not is_own_picture(path)


@pytest.mark.parametrize(("ending", "longest"), [(".webp", 16383), (".jpg", 65500)])
def test_as_many_results_are_drawn_as_the_format_has_room_for(
    photos, tmp_path, caplog, ending, longest
):
    tiny = Image.new("RGB", (2, 20000))  # thinner than a pixel, once it is as high as the others
    page = montage(
        photos / "rocket.png",
        [Match(str(n), photos / "gone.jpg", 0.5) for n in range(7000)],
        tmp_path / f"found{ending}",
        height=30,
    )
    assert longest - 200 < page.height <= longest
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.endswith("of 7000 results: it has no room for more.")
    with pytest.raises(ValueError, match="height"):
        montage(tiny, [], tmp_path / f"found{ending}", height=longest)
    assert montage(tiny, []).height


def test_an_image_that_has_gone_has_an_empty_frame(photos, tmp_path):
    gone = Match("gone.jpg", photos / "gone.jpg", 0.5)
    montage(Picture(photos / "no-query.jpg", "no-query.jpg"), [gone], tmp_path / "found.svg")
    said = (tmp_path / "found.svg").read_text()
    assert "gone.jpg" in said and "no-query.jpg" in said
