"""Labelled images that are not decoded yet."""

from pathlib import Path

import numpy as np
import pytest

from dolg_zoo.training.data import DataError, Examples

PATHS = [Path(f"{number}.jpg") for number in range(6)]


def make(labels=(0, 2, 2, 3, 3, 3), names="abcd"):
    return Examples(PATHS, np.asarray(labels), tuple(names))


def test_labels_become_int32():
    assert make().labels.dtype == np.int32


def test_counts_have_a_place_for_a_class_without_images():
    assert make().counts.tolist() == [1, 0, 2, 3]


def test_lone_classes_are_those_with_one_image():
    assert make().lone_classes == 1


def test_a_subset_keeps_the_order_asked_for():
    part = make().subset([5, 0])
    assert list(part.sources) == [PATHS[5], PATHS[0]]
    assert part.labels.tolist() == [3, 0]
    assert part.class_names == ("a", "b", "c", "d")


def test_a_relabelled_subset_leaves_out_classes_without_images():
    part = make().subset([3, 1, 4], relabel=True)
    assert part.class_names == ("c", "d")
    assert part.labels.tolist() == [1, 0, 1]


def test_a_subset_of_a_subset_counts_within_it():
    assert list(make().subset([5, 4, 3]).subset([2]).sources) == [PATHS[3]]


def test_a_subset_may_be_empty():
    assert len(make().subset([])) == 0


def test_paths_are_made_when_needed():
    class Sources(list):
        def __getitem__(self, index):
            raise AssertionError("asked for")

    examples = Examples(Sources(PATHS), np.zeros(6, int), ("a",))
    assert len(examples.subset(np.arange(3))) == 3


@pytest.mark.parametrize("wrong", [-1, 4, 2**40])
def test_a_label_out_of_range_is_named_with_its_image(wrong):
    with pytest.raises(DataError, match=rf"^Label {wrong} of 2.jpg is not from 0 to 3"):
        make(labels=(0, 1, wrong, 1, 1, 1))


def test_out_of_range_labels_are_counted():
    with pytest.raises(DataError, match="2 of 6 labels"):
        make(labels=(0, -1, 0, 9, 0, 0))


@pytest.mark.parametrize("labels", [[0, 1], [[0]] * 6, [0.0] * 6])
def test_each_image_needs_one_whole_number(labels):
    with pytest.raises(DataError, match="Each of the 6 images needs one whole number"):
        make(labels=labels)


def test_an_image_in_memory_is_called_by_its_place():
    examples = Examples([b"", b""], np.zeros(2, int), ("a",))
    assert examples.name(1) == "image 1 in memory"


@pytest.mark.parametrize("dtype", ["int8", "uint8", "uint64", object])
def test_whole_numbers_of_any_type_are_labels(dtype):
    labels = np.array([0, 1, 2, 3, 1, 100], dtype)
    names = [str(number) for number in range(300)]
    assert make(labels, names).labels.tolist() == [0, 1, 2, 3, 1, 100]
