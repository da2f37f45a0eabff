"""What is kept back to validate on."""

from pathlib import Path

import numpy as np
import pytest

from dolg_zoo.training.data import DataError, Examples, split


def make(*counts):
    """As many images of class "c0", "c1", … as `counts` says, mixed."""
    labels = np.repeat(np.arange(len(counts)), counts)
    labels = np.random.default_rng(3).permutation(labels)
    paths = [Path(f"c{label}/{number}") for number, label in enumerate(labels)]
    return Examples(paths, labels, tuple(f"c{number}" for number in range(len(counts))))


def classes_of(examples):
    """Class names by the paths, and by the labels: both must agree."""
    by_path = [path.parent.name for path in examples.sources]
    assert by_path == [examples.class_names[label] for label in examples.labels]
    return set(by_path)


def numbers_of(examples):
    return [int(path.name) for path in examples.sources]


@pytest.mark.parametrize("by", ["class", "image"])
def test_every_image_is_in_one_part_in_the_order_given(by):
    examples = make(*[5] * 10)
    parts = [numbers_of(part) for part in split(examples, by=by, share=0.3)]
    assert sorted(parts[0] + parts[1]) == list(range(50))
    assert all(part == sorted(part) for part in parts)


@pytest.mark.parametrize("by", ["class", "image"])
def test_the_choice_depends_on_the_seed_alone(by):
    examples = make(*[20] * 20)
    first, again, other = (numbers_of(split(examples, by=by, seed=seed)[1]) for seed in (1, 1, 2))
    assert first == again != other


def test_classes_are_kept_back_whole():
    training, validation = split(make(*[4] * 20), share=0.25)
    assert not classes_of(training) & classes_of(validation)
    assert (training.num_classes, validation.num_classes) == (15, 5)


def test_both_parts_are_numbered_anew():
    for part in split(make(*[4] * 20), share=0.25):
        assert np.unique(part.labels).tolist() == list(range(part.num_classes))


def test_two_classes_are_the_least_to_validate_on():
    assert split(make(*[3] * 8), share=0.01)[1].num_classes == 2


def test_classes_with_one_image_are_trained_on():
    training, validation = split(make(1, 1, 1, 1, 2, 2), share=0.5)
    assert classes_of(validation) == {"c4", "c5"}
    assert training.lone_classes == 4


def test_classes_can_be_kept_back_by_name():
    training, validation = split(make(2, 3, 2, 5), classes=("c3", "c1"))
    assert classes_of(validation) == {"c1", "c3"}
    assert classes_of(training) == {"c0", "c2"}
    assert classes_of(split(make(2, 3, 2, 5), classes=("c3 ", " c1"))[1]) == {"c1", "c3"}


@pytest.mark.parametrize(
    ("counts", "settings", "message"),
    [
        ((3, 3, 3), {}, "Without the 2 classes to validate on, 1 would be left"),
        ((3, 3, 3, 3), {"share": 0.9}, "0 would be left to train"),
        ((1, 1, 1, 5), {}, "1 of 4 classes have two images or more"),
        ((3,) * 5, {"classes": ("c1", "c9")}, "no class 'c9' to keep back; the 5 .* c0, c1"),
        ((3,) * 5, {"classes": ("c0", "cc1")}, "no class 'cc1' .* classes include c1"),
        ((3,) * 5, {"classes": ("c1",)}, "'c1' alone cannot be validated on"),
        ((3,) * 5, {"classes": ("c1", "c1")}, "'c1' alone cannot be validated on"),
        ((3, 1, 3, 3), {"classes": ("c0", "c1")}, "'c1' has 1 images"),
        ((2, 2, 2), {"by": "image"}, "No class has three images"),
        ((3,) * 5, {"by": "image", "classes": ("c1",)}, r"\(c1\) need by = \"class\""),
    ],
)
def test_too_little_to_divide_is_said(counts, settings, message):
    with pytest.raises(DataError, match=message):
        split(make(*counts), **settings)


@pytest.mark.parametrize("settings", [{"by": "place"}, {"share": 0.0}, {"share": 1.0}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ValueError, match="got"):
        split(make(3, 3, 3, 3), **settings)


@pytest.mark.parametrize(
    ("count", "share", "kept_back"),
    # at least one, at least two left, else the share to the nearest image
    [(1, 0.5, 0), (2, 0.5, 0), (3, 0.1, 1), (3, 0.9, 1), (20, 0.1, 2), (20, 0.99, 18), (7, 0.5, 4)],
)
def test_by_image_a_share_of_each_class_is_kept_back(count, share, kept_back):
    training, validation = split(make(10, count, 10), by="image", share=share)
    assert validation.counts[1] == kept_back
    assert training.counts[1] == count - kept_back


def test_by_image_both_parts_keep_the_classes():
    for part in split(make(3, 1, 4), by="image"):
        classes_of(part)
        assert part.class_names == ("c0", "c1", "c2")
