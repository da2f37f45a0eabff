"""Batches decoded ahead of their use."""

import itertools
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dolg_zoo.preprocessing import ImageConverter, load_image
from dolg_zoo.training.data import (
    Batches,
    DataError,
    Examples,
    batch_indices,
    from_folder,
    random_resized_crop,
)


@pytest.fixture
def examples(tmp_path, rng):
    """Eleven images of different sizes, in two classes."""
    for number in range(11):
        path = tmp_path / "images" / "ab"[number % 2] / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (20 + number, 40 - number, 3), np.uint8)
        Image.fromarray(pixels).save(path)
    return from_folder(tmp_path / "images")


def spoil(examples, *indices):
    for index in indices:
        examples.sources[index].write_bytes(b"not an image")


def take(examples, **settings):
    return list(Batches(examples, **{"size": 8, "batch_size": 4, "seed": 5, **settings}))


def same(batches, others):
    return len(batches) == len(others) and all(
        np.array_equal(images, other_images) and np.array_equal(labels, other_labels)
        for (images, labels), (other_images, other_labels) in zip(batches, others, strict=True)
    )


def test_a_batch_is_uint8_images_and_int32_labels(examples):
    ((images, labels),) = take(examples, last_step=1)
    assert images.shape == (4, 8, 8, 3) and images.dtype == np.uint8
    assert labels.shape == (4,) and labels.dtype == np.int32


def test_without_crop_each_image_is_prepared_as_for_search(examples):
    batches = take(examples, last_step=4, area=None, balanced=True)  # two epochs
    for epoch in range(2):
        order = batch_indices(examples.labels, 4, 5, epoch, balanced=True)
        for indices, (images, labels) in zip(order, batches[2 * epoch :][:2], strict=True):
            for index, image, label in zip(indices, images, labels, strict=True):
                as_for_search = ImageConverter(8)(load_image(examples.sources[index]))
                np.testing.assert_array_equal(image, as_for_search)
                assert label == examples.labels[index]


def test_interpolation_is_the_one_asked_for(examples):
    bicubic, bilinear = (
        take(examples, last_step=1, area=None, interpolation=name)[0][0]
        for name in ("bicubic", "bilinear")
    )
    index = batch_indices(examples.labels, 4, 5, 0)[0, 0]
    wanted = ImageConverter(8, interpolation="bicubic")(load_image(examples.sources[index]))
    np.testing.assert_array_equal(bicubic[0], wanted)
    assert not np.array_equal(bicubic, bilinear)


@pytest.mark.parametrize("first", [0, 1, 2, 5])
def test_a_run_can_go_on_from_any_step(examples, first):
    assert same(take(examples, first_step=first, last_step=7), take(examples, last_step=7)[first:])


def test_the_number_of_threads_changes_nothing(examples):
    assert same(take(examples, last_step=5, threads=1), take(examples, last_step=5, threads=4))


def test_workers_share_the_batches_of_one(examples):
    parts = [take(examples, last_step=5, rank=rank, workers=2) for rank in range(2)]
    joint = [
        tuple(np.concatenate(both) for both in zip(*each, strict=True))
        for each in zip(*parts, strict=True)
    ]
    assert same(joint, take(examples, last_step=5))


def test_workers_that_cannot_share_a_batch_are_refused(examples):
    with pytest.raises(ValueError, match="multiple of the 3 workers, got 4"):
        take(examples, last_step=1, workers=3)


def test_crops_differ_by_seed_epoch_and_place(examples):
    one = examples.subset([0])
    batches = take(one, last_step=3) + take(one, last_step=3, seed=6)
    crops = [image.tobytes() for images, _ in batches for image in images]
    assert len(set(crops)) == len(crops) == 24


def test_the_share_cut_out_is_the_one_asked_for(examples):
    ramp = BytesIO()
    Image.fromarray(ramp_of(200, 100)).save(ramp, "PNG")
    one = Examples([ramp.getvalue()], np.zeros(1, int), ("a",))
    images = np.concatenate([images for images, _ in take(one, last_step=20, area=(0.2, 0.3))])
    shares = [np.prod(box_of(image, 200, 100)[1]) / 20_000 for image in images]
    assert 0.19 < min(shares) < 0.22 and 0.28 < max(shares) < 0.31


def test_encoded_images_in_memory_are_taken(examples):
    held = [path.read_bytes() for path in examples.sources]
    in_memory = Examples(held, examples.labels, examples.class_names)
    assert same(take(in_memory, last_step=3), take(examples, last_step=3))


def test_the_next_image_that_can_be_read_takes_the_place_of_one_that_cannot(examples):
    order = batch_indices(examples.labels, 4, 5, 0).ravel()
    spoil(examples, order[2], order[3])
    batches = take(examples, last_step=2, area=None)
    shown = np.concatenate([images for images, _ in batches])
    labels = np.concatenate([labels for _, labels in batches])
    for place, instead in enumerate([0, 1, 4, 4, 4, 5, 6, 7]):
        wanted = ImageConverter(8)(load_image(examples.sources[order[instead]]))
        np.testing.assert_array_equal(shown[place], wanted)
        assert labels[place] == examples.labels[order[instead]]


def test_what_replaces_the_last_image_is_the_first(examples):
    order = batch_indices(examples.labels, 4, 5, 0).ravel()
    spoil(examples, order[7])
    images, _ = take(examples, last_step=2, area=None)[1]
    wanted = ImageConverter(8)(load_image(examples.sources[order[0]]))
    np.testing.assert_array_equal(images[3], wanted)


def test_images_left_out_are_named_with_the_reason(examples):
    order = batch_indices(examples.labels, 4, 5, 0).ravel()
    examples.sources[order[1]].unlink()
    spoil(examples, order[6])
    batches = Batches(examples, 8, 4, 5, last_step=4)
    list(batches)
    assert set(batches.skipped) == {str(examples.sources[order[place]]) for place in (1, 6)}
    assert batches.skipped[str(examples.sources[order[1]])] == "No such file or directory"


def test_bad_images_change_nothing_for_going_on_or_sharing(examples):
    spoil(examples, 0, 1, 2, 7)
    whole = take(examples, last_step=6)
    assert same(take(examples, first_step=3, last_step=6), whole[3:])
    halves = [take(examples, last_step=6, rank=rank, workers=2) for rank in range(2)]
    joint = [np.concatenate([left[0], right[0]]) for left, right in zip(*halves, strict=True)]
    assert all(np.array_equal(a, b) for a, (b, _) in zip(joint, whole, strict=True))


def test_a_bad_image_in_memory_is_named_by_its_place():
    good = BytesIO()
    Image.new("L", (9, 9)).save(good, "PNG")
    examples = Examples([good.getvalue(), b"no"], np.zeros(2, int), ("a",))
    batches = Batches(examples, 8, 2, 0, last_step=1)
    list(batches)
    assert list(batches.skipped) == ["image 1 in memory"]


def test_many_bad_images_in_a_row_end_it(tmp_path):
    paths = [tmp_path / f"{number}.jpg" for number in range(200)]
    examples = Examples(paths, np.arange(200) % 2, ("a", "b"))
    with pytest.raises(DataError, match=r"^50 images in a row cannot be read, such as .*No such"):
        take(examples, last_step=1)


def test_so_many_bad_images_but_one_are_passed_over(tmp_path):
    paths = [tmp_path / f"{number}.png" for number in range(50)]
    examples = Examples(paths, np.zeros(50, int), ("a",))
    last = batch_indices(examples.labels, 50, 5, 0)[0, 49]
    Image.new("RGB", (9, 9), "red").save(paths[last])
    images, _ = next(iter(Batches(examples, 8, 50, 5, last_step=1, area=None)))
    assert (images == (255, 0, 0)).all()


def test_no_more_is_decoded_than_two_batches_ahead(examples, monkeypatch):
    opened = itertools.count()
    monkeypatch.setattr(
        "dolg_zoo.training.data.decoding.load_image",
        lambda source: (next(opened) and None) or load_image(source),
    )
    batches = iter(Batches(examples, 8, 4, 5, last_step=1000))
    for _ in range(3):
        next(batches)
    batches.close()
    assert next(opened) <= 5 * 4


def ramp_of(width, height):
    """An image whose red says how far right a pixel is, and whose green how far down."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    return np.stack([x, y, 0 * x], axis=-1).astype(np.uint8)


def box_of(crop, width, height):
    """(left, top), (width, height) of the part of a ramp that a crop shows, to about a pixel."""
    size = crop.shape[0]
    # away from the rim, where the filter is cut off
    inner = slice(size // 4, -(size // 4))
    step_x = np.diff(crop[:, inner, 0].astype(float), axis=1).mean()
    step_y = np.diff(crop[inner, :, 1].astype(float), axis=0).mean()
    middle = crop[size // 2 - 1 : size // 2 + 1, size // 2 - 1 : size // 2 + 1, :2]
    x, y = middle.mean(axis=(0, 1)) + 0.5
    sides = np.array([step_x, step_y]) * size
    return np.array([x, y]) - sides / 2, sides


def crops(width, height, count=200, **settings):
    image = Image.fromarray(ramp_of(width, height))
    rng = np.random.default_rng(0)
    return [
        box_of(random_resized_crop(image, 32, rng, **settings), width, height) for _ in range(count)
    ]


def test_crops_have_the_shares_and_shapes_asked_for_and_lie_inside():
    boxes = crops(240, 160, area=(0.2, 0.6), aspect=(0.5, 2.0))
    shares = [np.prod(sides) / (240 * 160) for _, sides in boxes]
    assert 0.19 < min(shares) < 0.23 and 0.55 < max(shares) < 0.62
    ratios = [wide / high for _, (wide, high) in boxes]
    assert 0.48 < min(ratios) < 0.6 and 1.7 < max(ratios) < 2.1
    # as many wide ones as high ones
    assert abs(np.median(np.log(ratios))) < 0.25
    for corner, sides in boxes:
        assert (corner > -2).all() and (corner + sides < (242, 162)).all()


def test_crops_reach_every_part_of_the_image():
    boxes = crops(240, 160, area=(0.08, 0.2))
    corners, ends = zip(*[(corner, corner + sides) for corner, sides in boxes], strict=True)
    assert (np.min(corners, axis=0) < (15, 15)).all()
    assert (np.max(ends, axis=0) > (225, 145)).all()


@pytest.mark.parametrize(
    ("width", "height", "box"), [(240, 60, (80, 0, 160, 60)), (60, 240, (0, 80, 60, 160))]
)
def test_where_no_such_part_fits_in_it_is_the_largest_in_the_middle(width, height, box):
    image = Image.fromarray(ramp_of(width, height))
    # all of a 4 : 1 image in a ratio of at most 4 : 3
    crop = random_resized_crop(image, 32, np.random.default_rng(0), area=(1.0, 1.0))
    np.testing.assert_array_equal(crop, image.resize((32, 32), Image.Resampling.BILINEAR, box))


def test_a_crop_of_all_is_the_squashed_image():
    image = Image.fromarray(ramp_of(80, 80))
    crop = random_resized_crop(image, 16, np.random.default_rng(0), (1.0, 1.0), (1.0, 1.0))
    np.testing.assert_array_equal(crop, ImageConverter(16)(image))


@given(
    width=st.integers(1, 300),
    height=st.integers(1, 300),
    seed=st.integers(0, 2**32),
    least=st.floats(0.01, 1),
)
def test_any_size_of_image_can_be_cropped(width, height, seed, least):
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (width, height), "red")
    crop = random_resized_crop(image, 5, rng, (least, 1.0), interpolation="bicubic")
    assert (crop == (255, 0, 0)).all()
