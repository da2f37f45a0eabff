import hashlib
import shutil
import threading

import pytest
from bounds import DESCRIPTOR
from PIL import Image, features

from dolg_zoo import BadImageError
from dolg_zoo.preprocessing import list_images, load_image
from dolg_zoo.retrieval import Index
from dolg_zoo.serving import desk as desk_module
from dolg_zoo.serving.desk import SearchDesk

PRESET = "a-preset"


def test_it_finds_what_the_index_finds(desk, photos, model):
    expected = Index.build(model, photos).search(photos / "rocket.png", 3)
    found = desk.search(PRESET, photos / "rocket.png", k=3)
    assert [match.name for match in found] == [match.name for match in expected]
    assert found[0].name == "rocket.png"


def test_a_box_is_searched_for(desk, photos, model):
    with Image.open(photos / "coffee.png") as image:
        expected = Index.build(model, photos).search(image.crop((20, 20, 120, 120)))
    found = desk.search(PRESET, photos / "coffee.png", (20, 20, 120, 120))
    assert [match.score for match in found] == pytest.approx(
        [m.score for m in expected], abs=DESCRIPTOR
    )


def test_another_ranking_is_that_of_the_index(desk, photos, model):
    index = Index.build(model, photos)
    for name, ranking in desk_module.RANKINGS.items():
        expected = index.search(photos / "coffee.png", 4, ranking)
        found = desk.search(PRESET, photos / "coffee.png", k=4, ranking=name)
        assert [match.name for match in found] == [match.name for match in expected]


def test_an_explanation_sums_to_the_score_that_was_found(desk, photos):
    first = desk.search(PRESET, photos / "rocket.png")[1]
    explanation = desk.explain(PRESET, photos / "rocket.png", first.name)
    assert explanation.score == pytest.approx(first.score, abs=DESCRIPTOR)


def test_what_a_compiled_model_found_is_explained_by_the_preset_it_was_compiled_from(model, photos):
    class Compiled:  # as CompiledDOLG: it embeds
        model_id, descriptor_dim = model.model_id, model.descriptor_dim
        image_converter, embed_each = model.image_converter, model.embed_each
        metadata = {"preset": "the one it is of"}  # noqa: RUF012

        def routed(self):
            return self

    loaded = []
    desk = desk_module.SearchDesk(
        lambda preset: Index.build(Compiled(), photos, progress=False),
        lambda preset: loaded.append(preset) or model,
        [None],
    )
    for _ in range(2):
        first = desk.search(None, photos / "rocket.png")[1]
        score = desk.explain(None, photos / "rocket.png", first.name).score
        assert score == pytest.approx(first.score, abs=DESCRIPTOR)
    assert loaded == ["the one it is of"]


@pytest.mark.parametrize("name", ["../secret.png", "/etc/passwd", "far/../../secret.png", "none"])
def test_only_images_of_the_index_are_opened(desk, photos, name):
    shutil.copy(photos / "rocket.png", photos.parent / "secret.png")
    with pytest.raises(ValueError, match=r"no image .* in the index"):
        desk.photo(PRESET, name)
    with pytest.raises(ValueError, match=r"no image .* in the index"):
        desk.explain(PRESET, photos / "rocket.png", name)


@pytest.mark.parametrize("preset", ["/tmp", "hf://some/body", None])
def test_a_preset_that_is_not_offered_is_not_loaded(desk, photos, preset):
    with pytest.raises(ValueError, match="no preset"):
        desk.search(preset, photos / "rocket.png")


def test_what_is_added_is_found_under_a_name_of_its_own(desk, photos, tmp_path):
    new = tmp_path / "..evil name.png"
    with Image.open(photos / "rocket.png") as image:
        image.rotate(7).save(new)
    added = desk.add(PRESET, [new])
    name = f"added/{hashlib.sha256(new.read_bytes()).hexdigest()[:16]}.png"
    assert (added.names, added.refused) == ([name], {})
    assert desk.search(PRESET, new, k=1)[0].name == name
    assert (photos / name).read_bytes() == new.read_bytes()


def test_what_is_added_to_an_index_is_there_after_a_restart(model, photos, tmp_path):
    Index.build(model, photos).save(tmp_path / "index")

    def start():
        return SearchDesk(lambda _: Index.load(tmp_path / "index", model), lambda _: None, [PRESET])

    first, second = start(), start()
    for number, desk in enumerate((first, second)):
        with Image.open(photos / "rocket.png") as image:
            image.rotate(7 + number).save(tmp_path / f"{number}.png")
        (name,) = desk.add(PRESET, [tmp_path / f"{number}.png"]).names
        assert start().search(PRESET, tmp_path / f"{number}.png", k=1)[0].name == name
    assert len(start().index(PRESET)) == 6  # neither has undone what the other added


def test_an_index_that_cannot_be_written_says_so_and_finds_what_was_added(
    model, photos, tmp_path, monkeypatch
):
    Index.build(model, photos).save(tmp_path / "index")
    desk = SearchDesk(lambda _: Index.load(tmp_path / "index", model), lambda _: None, [PRESET])

    def full(self, path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Index, "save", full)
    with Image.open(photos / "rocket.png") as image:
        image.rotate(7).save(tmp_path / "new.png")
    added = desk.add(PRESET, [tmp_path / "new.png"])
    assert "No space left" in added.refused[str(tmp_path / "index")]
    assert [desk.search(PRESET, tmp_path / "new.png", k=1)[0].name] == added.names


def test_what_is_added_is_found_with_the_other_presets_too(desk, photos, tmp_path):
    assert len(desk.index("another")) == 4
    with Image.open(photos / "rocket.png") as image:
        image.rotate(7).save(tmp_path / "new.png")
    [name] = desk.add(PRESET, [tmp_path / "new.png"]).names
    assert desk.search("another", tmp_path / "new.png", k=1)[0].name == name


def test_what_is_no_image_is_refused_and_the_others_are_added(desk, photos, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no image")
    (tmp_path / "page.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    good = shutil.copy(photos / "coffee.png", tmp_path / "good.png")
    added = desk.add(PRESET, [tmp_path / "bad.png", tmp_path / "page.svg", good])
    assert len(added.names) == 1 and added.refused.keys() == {"bad.png", "page.svg"}
    assert sorted(path.name for path in (photos / "added").iterdir()) == [
        added.names[0].removeprefix("added/")
    ]


@pytest.mark.parametrize(
    ("fmt", "ending"),
    [
        ("JPEG", ".jpg"),
        ("MPO", ".jpg"),
        ("PNG", ".png"),
        ("WEBP", ".webp"),
        ("GIF", ".gif"),
        ("BMP", ".bmp"),
        ("TIFF", ".tiff"),
        ("PPM", ".ppm"),
        ("AVIF", ".avif"),
        ("JPEG2000", ".jp2"),
    ],
)
def test_a_photograph_of_every_format_is_kept_under_a_name_that_is_listed_at_the_next_start(
    tmp_path, fmt, ending
):
    if fmt == "AVIF" and not features.check("avif"):
        pytest.skip("this build of Pillow has no AVIF")
    image = Image.effect_noise((40, 30), 50).convert("RGB")
    more = {"save_all": True, "append_images": [image]} if fmt == "MPO" else {}
    image.save(tmp_path / "upload", fmt, **more)  # its name says nothing
    gallery = tmp_path / "gallery"
    gallery.mkdir()
    kept = gallery / desk_module._keep(tmp_path / "upload", gallery)
    assert kept.suffix == ending
    assert list_images(gallery) == [kept]
    assert load_image(kept).size == (40, 30)


def test_a_heic_is_kept_under_a_name_that_is_listed_at_the_next_start(tmp_path):
    heif = pytest.importorskip("pillow_heif")
    heif.from_pillow(Image.effect_noise((40, 30), 50).convert("RGB")).save(tmp_path / "upload")
    (gallery := tmp_path / "gallery").mkdir()
    kept = gallery / desk_module._keep(tmp_path / "upload", gallery)
    assert kept.suffix == ".heic" and list_images(gallery) == [kept]
    assert load_image(kept).size == (40, 30)


def test_an_image_that_pillow_takes_for_a_decompression_bomb_does_not_lose_the_others(
    desk, photos, tmp_path, monkeypatch
):
    with Image.open(photos / "rocket.png") as image:
        image.rotate(7).save(tmp_path / "large.png")
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", image.width * image.height // 3)
    (tmp_path / "bad.png").write_bytes(b"no image")
    added = desk.add(PRESET, [tmp_path / "large.png", tmp_path / "bad.png"])
    assert (len(added.names), [*added.refused]) == (1, ["bad.png"])


def test_a_format_that_is_not_read_is_refused_with_the_formats_that_are(desk, tmp_path):
    Image.new("RGB", (16, 16)).save(tmp_path / "a.ico")
    refused = desk.add(PRESET, [tmp_path / "a.ico"]).refused
    assert "none of the formats JPEG, PNG" in refused["a.ico"]


def test_the_same_image_is_added_once(desk, photos):
    before = len(desk.index(PRESET))
    for _ in range(2):
        desk.add(PRESET, [photos / "rocket.png", photos / "rocket.png"])
    assert len(desk.index(PRESET)) == before + 1


def test_a_file_that_is_too_large_is_refused(desk, photos, monkeypatch):
    monkeypatch.setattr(desk_module, "MAX_BYTES", 100)
    assert "larger than" in desk.add(PRESET, [photos / "rocket.png"]).refused["rocket.png"]


def test_too_many_files_are_refused_before_one_is_read(desk, tmp_path):
    with pytest.raises(ValueError, match="51 files at once are too many; add at most 50"):
        desk.add(PRESET, [tmp_path / f"{n}.png" for n in range(51)])


def test_a_query_that_is_no_image_is_an_error(desk, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no image")
    with pytest.raises(BadImageError):
        desk.search(PRESET, tmp_path / "bad.png")


def test_searching_while_images_are_added_goes_well(desk, photos, tmp_path):
    files = []
    for angle in range(6):
        with Image.open(photos / "rocket.png") as image:
            image.rotate(10 * angle + 5).save(tmp_path / f"{angle}.png")
        files.append(tmp_path / f"{angle}.png")
    faults = []

    def search():
        try:
            for _ in range(3):
                assert desk.search(PRESET, photos / "coffee.png", k=1)[0].name == "coffee.png"
        except BaseException as error:
            faults.append(error)

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    for file in files:
        desk.add(PRESET, [file])
    for thread in threads:
        thread.join()
    assert not faults and len(desk.index(PRESET)) == 10
