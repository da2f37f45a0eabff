import os

import numpy as np
import pytest
from bounds import COSINE, DESCRIPTOR
from PIL import Image
from unit_rows import unit_rows

from dolg_zoo import DOLG, BadImageError
from dolg_zoo.retrieval import Index

NAMES = ["astronaut.png", "coffee.png", "far/chelsea.png", "rocket.png"]


@pytest.fixture
def random_index(model, rng):
    return Index(model, [f"{i}.jpg" for i in range(200)], unit_rows(rng, 200, 512))


def test_an_index_holds_each_image_of_the_folder_under_its_path(model, photos):
    index = Index.build(model, photos)
    assert index.names == NAMES
    assert index.skipped == {}
    np.testing.assert_allclose(index.descriptors, model.embed(photos), atol=DESCRIPTOR)


def test_it_says_what_it_is_in_a_line(random_index):
    assert repr(random_index) == "<Index of 200 images in '.': 512 dimensions, exact search>"


def test_part_of_a_photograph_finds_it(model, photos):
    index = Index.build(model, photos)
    part = Image.open(photos / "far" / "chelsea.png").crop((10, 20, 140, 150))
    best, *rest = index.search(part, k=4)
    assert best.name == "far/chelsea.png" and best.path == photos / "far" / "chelsea.png"
    assert best.score > rest[0].score and len(rest) == 3


def test_scores_are_cosines_and_in_descending_order(random_index, rng):
    queries = rng.standard_normal((3, 512)) * 10
    unit = queries / np.linalg.norm(queries, axis=1, keepdims=True)
    cosines = unit @ random_index.descriptors.T
    for found, row in zip(random_index.search_descriptors(queries, 7), cosines, strict=True):
        order = np.argsort(-row)[:7]
        assert [match.name for match in found] == [f"{place}.jpg" for place in order]
        np.testing.assert_allclose([match.score for match in found], row[order], atol=COSINE)


def test_a_query_may_be_a_path_a_picture_or_an_array(model, photos):
    index = Index.build(model, photos)
    path = photos / "rocket.png"
    for query in (path, str(path), Image.open(path), np.asarray(Image.open(path))):
        assert index.search(query, k=1)[0].score == pytest.approx(1, abs=DESCRIPTOR)


def test_more_results_than_images_gives_all(random_index):
    (found,) = random_index.search_descriptors(random_index.descriptors[:1], np.int64(1000))
    assert len(found) == 200


def test_a_query_is_embedded_at_the_scales_of_the_index(model, photos):
    index = Index.build(model, photos, scales=(0.5, 1.0))
    assert index.search(photos / "rocket.png", k=1)[0].score == pytest.approx(1, abs=DESCRIPTOR)


@pytest.mark.parametrize("k", [0, -1, 2.5, None, "3", True])
def test_k_that_is_no_number_of_images_is_refused(random_index, k):
    with pytest.raises(ValueError, match=f"k must be .*at least 1, got {k!r}"):
        random_index.search_descriptors(random_index.descriptors[:1], k)


@pytest.mark.parametrize(
    ("queries", "fault"),
    [
        *(
            (np.array([[1, *[0] * 511], [value] * 512]), "finite")
            for value in (np.nan, np.inf, -np.inf)
        ),
        (np.zeros((1, 512)), "zero"),
        *((np.ones(shape), r"\(queries, 512\)") for shape in ((512,), (2, 511))),
    ],
)
def test_descriptors_that_cannot_be_searched_for_are_refused(random_index, queries, fault):
    with pytest.raises(ValueError, match=fault):
        random_index.search_descriptors(queries)


@pytest.mark.parametrize("length", [1e-300, 1e-30, 1e30, 1e300])
def test_the_length_of_a_descriptor_does_not_matter(random_index, length):
    query = random_index.descriptors[7:8].astype(np.float64) * length
    (found,) = random_index.search_descriptors(query, 1)
    assert found[0].name == "7.jpg" and found[0].score == pytest.approx(1, abs=COSINE)


def test_an_index_of_descriptors_that_are_not_finite_is_an_error(model):
    descriptors = np.eye(2, 512, dtype=np.float32)
    descriptors[1, 0] = np.nan
    with pytest.raises(ValueError, match=r"'small'.*'b\.jpg'"):
        Index(model, ["a.jpg", "b.jpg"], descriptors)


def test_images_that_cannot_be_read_are_left_out_and_named(model, photos):
    (photos / "bad.jpg").write_text("no image")
    (photos / "empty.jpg").touch()
    index = Index.build(model, photos)
    assert index.names == NAMES and list(index.skipped) == ["bad.jpg", "empty.jpg"]
    assert "empty" in index.skipped["empty.jpg"]


def test_a_folder_with_nothing_but_bad_images_is_an_error(model, tmp_path):
    (tmp_path / "bad.jpg").write_text("no image")
    with pytest.raises(ValueError, match=r"None of the 1 images.*'bad.jpg'"):
        Index.build(model, tmp_path)


def test_a_query_that_cannot_be_read_is_an_error(random_index, tmp_path):
    with pytest.raises(BadImageError, match=r"gone\.jpg"):
        random_index.search(tmp_path / "gone.jpg")


def test_names_of_undecodable_bytes_are_built_saved_and_opened(model, photos, tmp_path):
    name = os.fsdecode(b"far/\xff\n.png")
    (photos / "rocket.png").rename(photos / name)
    Index.build(model, photos).save(tmp_path / "index.npz")
    index = Index.load(tmp_path / "index.npz", model, photos)
    match = index.search(photos / name, k=1)[0]
    assert match.name == name and match.path.is_file()


@pytest.fixture
def saved(model, tmp_path):
    """The model as a preset of its own."""
    model.save_to_preset(tmp_path / "saved")
    return tmp_path / "saved"


@pytest.mark.parametrize("name", ["index.npz", "index"])
def test_another_models_index_is_refused_and_both_are_named(random_index, saved, tmp_path, name):
    random_index.save(tmp_path / name)
    other = DOLG.from_preset(saved)
    other.net.weights[0].assign_add(other.net.weights[0] * 0 + 1)
    with pytest.raises(ValueError, match=r"was made with.*cannot be compared") as refusal:
        Index.load(tmp_path / name, other)
    assert "'small'" in str(refusal.value) and str(saved) in str(refusal.value)
    assert random_index.model_id in str(refusal.value)


def test_a_model_loaded_again_takes_the_index(random_index, saved, tmp_path):
    random_index.save(tmp_path / "index.npz")
    assert len(Index.load(tmp_path / "index.npz", DOLG.from_preset(saved))) == 200


def test_a_model_trained_further_is_another_model(random_index, saved):
    trained, stated = DOLG.from_preset(saved), DOLG.from_preset(saved).metadata["sha256"]
    trained.net.weights[-1].assign_add(trained.net.weights[-1] * 0 + 1e-3)
    assert trained.metadata["sha256"] == stated
    assert Index(trained, [], np.ones((0, 512))).model_id != random_index.model_id


def damage_end(content):
    return content[:-100]


def damage_byte(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize("damage", [damage_end, damage_byte, lambda content: b"text"])
def test_a_damaged_index_is_refused(random_index, model, tmp_path, damage):
    path = tmp_path / "index.npz"
    random_index.save(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=r"index\.npz.*(no index|damaged)"):
        Index.load(path, model)


def rewritten(path, **changes):
    with np.load(path) as file:
        np.savez(path, **{**dict(file), **changes})


class Trap:
    def __reduce__(self):
        return (os.mkdir, ("sprung",))


@pytest.mark.parametrize(
    "changes",
    [
        {"names": np.array([Trap()] * 200)},
        {"names": np.array(["../out.jpg"] * 200)},
        {"names": np.array(["/etc/passwd"] * 200)},
        {"names": np.array(["one.jpg"])},
        {"descriptors": np.full((200, 512), np.nan, np.float32)},
        {"descriptors": np.ones((200, 64), np.float32)},
        {"descriptors": np.eye(200, 64, dtype=np.float32)},
        {"descriptors": np.eye(200, 512, dtype=np.float32) * 1.01},
        {"descriptors": np.full((200, 512), 1e300)},
        {"names": np.array([], str), "descriptors": np.ones((0, 512), np.float32)},
        {"model_id": np.array(["a", "b"])},
        {"scales": np.array([])},
        {"scales": np.array(1.0)},
        {"scales": np.array([1, np.nan])},
        {"scales": np.array([1, 0.0])},
        {"scales": np.array([8.1])},
        {"skipped_names": np.array(["a", "b"]), "skipped_reasons": np.array(["why"])},
        {"skipped_names": np.array("a"), "skipped_reasons": np.array("why")},
    ],
    ids=[
        *("pickle", "parent", "absolute", "too few names", "nan", "ones", "dimension"),
        *("too long", "beyond float32", "no image", "two ids"),
        *("no scale", "one bare scale", "scale nan", "scale 0", "scale above 8"),
        *("unequal skipped", "one bare skipped"),
    ],
)
def test_an_index_of_wrong_content_is_refused(random_index, model, tmp_path, monkeypatch, changes):
    monkeypatch.chdir(tmp_path)
    random_index.save("index.npz")
    rewritten("index.npz", **changes)
    with pytest.raises(ValueError, match=r"'index\.npz' (is no index|was made with)"):
        Index.load("index.npz", model)
    assert not (tmp_path / "sprung").exists()


def test_a_missing_file_is_said_to_be_missing(model, tmp_path):
    with pytest.raises(FileNotFoundError):
        Index.load(tmp_path / "gone.npz", model)


def test_saving_that_fails_leaves_the_old_file(random_index, tmp_path, monkeypatch):
    path = tmp_path / "index.npz"
    random_index.save(path)
    before = path.read_bytes()

    def full_disk(file, **arrays):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full_disk)
    with pytest.raises(OSError, match="No space"):
        random_index.save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_saving_through_a_link_keeps_the_link(random_index, tmp_path):
    (tmp_path / "link.npz").symlink_to(tmp_path / "real.npz")
    random_index.save(tmp_path / "link.npz")
    assert (tmp_path / "link.npz").is_symlink() and (tmp_path / "real.npz").is_file()


@pytest.mark.parametrize("is_link", [False, True])  # as /dev/stdout is one
def test_saving_to_a_pipe_writes_to_it(random_index, tmp_path, is_link):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(path, os.O_WRONLY)
    try:
        small = Index(random_index.model, ["a.jpg"], random_index.descriptors[:1])
        small.save(f"/dev/fd/{writer}" if is_link else path)
        assert os.read(reader, 1 << 20).startswith(b"PK")
    finally:
        os.close(reader)
        os.close(writer)
    assert path.is_fifo()


@pytest.mark.parametrize("name", ["gone/index.npz", "file/index.npz"])
def test_an_index_that_cannot_be_saved_is_named_as_it_was_given(random_index, tmp_path, name):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=name) as refusal:
        random_index.save(tmp_path / name)
    assert ".tmp" not in str(refusal.value)
