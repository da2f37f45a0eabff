"""TensorFlow Datasets, with the library's own mock data: random images under the real names."""

import re
import sys
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from dolg_zoo.errors import ExtraMissingError
from dolg_zoo.training.data import Batches, DataError, from_tfds, load_examples

pytest.importorskip("tensorflow_datasets", reason="needs tensorflow-datasets")


@pytest.fixture
def mock_data(tmp_path):
    from tensorflow_datasets.testing import mock_data

    with mock_data(num_examples=12, data_dir=str(tmp_path)):
        yield


@pytest.mark.parametrize(
    ("name", "classes", "first_class", "mode"),
    [
        ("malaria", 2, "parasitized", "RGB"),
        ("oxford_flowers102", 102, "pink primrose", "RGB"),
        ("cmaterdb", 10, "0", "RGB"),
        ("cmaterdb/bangla", 10, "0", "RGB"),
        ("mnist", 10, "0", "L"),
        ("mnist:3.*.*", 10, "0", "L"),
    ],
)
def test_a_data_set_gives_its_encoded_images(mock_data, name, classes, first_class, mode):
    examples = from_tfds(name)
    assert len(examples) == 12
    assert examples.num_classes == classes
    assert examples.class_names[0] == first_class
    assert Image.open(BytesIO(examples.sources[0])).mode == mode


def test_images_and_labels_are_those_of_the_data_set(mock_data):
    import tensorflow_datasets as tfds

    examples = from_tfds("mnist")
    # the mock draws other pixels when they are not to be decoded, but only then
    decoders = {"image": tfds.decode.SkipDecoding()}
    pairs = tfds.load("mnist", split="train", as_supervised=True, decoders=decoders)
    for (image, label), held, held_label in zip(
        tfds.as_numpy(pairs), examples.sources, examples.labels, strict=True
    ):
        assert held == image
        assert held_label == label


def test_grey_images_come_out_as_rgb(mock_data):
    ((images, _),) = Batches(from_tfds("mnist"), 28, 12, 0, last_step=1, area=None)
    assert images.shape == (12, 28, 28, 3)
    assert np.ptp(images, axis=-1).max() == 0 and np.ptp(images) > 0


def test_a_table_with_a_data_set(mock_data):
    assert len(load_examples({"tfds": "cmaterdb", "split": "test"})) == 12


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("oxford_flower102", "no data set 'oxford_flower102'; similar are oxford_flowers102"),
        ("huggingface:mnist", "comes with no data set 'huggingface:mnist'"),
        ("../mnist", "comes with no data set '../mnist'"),
        ("mnist:9.9.9", "There is no data set 'mnist:9.9.9': .*3.0.1"),
        ("malaria/small", "There is no data set 'malaria/small'"),
        ("mnist:module", "There is no data set 'mnist:module'"),
        ("voc/2007", "must have 8-bit images with a class each; .*None"),
        ("ag_news_subset", "must have 8-bit images with a class each; .*description"),
    ],
)
def test_a_name_that_does_not_do_is_refused(mock_data, name, message):
    with pytest.raises(DataError, match=f"(?s){message}"):
        from_tfds(name)


def test_a_data_set_too_large_for_memory_is_refused(mock_data, monkeypatch):
    monkeypatch.setattr("dolg_zoo.training.data.tfds.MAX_BYTES", 2000)
    with pytest.raises(DataError, match=r'more than 2000 bytes of memory; take .*"train\[:10%\]"'):
        from_tfds("mnist")


def test_what_it_lacks_to_prepare_a_data_set_is_named_with_the_extra(mock_data, monkeypatch):
    import tensorflow_datasets as tfds

    def prepare(*_, **__):
        import importlib_resources  # noqa: F401

    with (
        monkeypatch.context() as patch,  # undone before `mock_data` is
        pytest.raises(ExtraMissingError, match=r"'mnist' needs .*dolg-zoo\[recipes\]"),
    ):
        patch.setitem(sys.modules, "importlib_resources", None)
        patch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", prepare)
        from_tfds("mnist")


@pytest.fixture
def prepared(tmp_path, monkeypatch):
    """The library's own stand-in for MNIST: really prepared, stored and read, without a network."""
    pytest.importorskip("importlib_resources", reason="tensorflow-datasets needs it to prepare")
    import tensorflow_datasets as tfds
    from tensorflow_datasets.testing import DummyMnist

    def info(builder):
        features = describe(builder).features
        return tfds.core.DatasetInfo(
            builder=builder, features=features, supervised_keys=("image", "label")
        )

    describe = DummyMnist._info
    monkeypatch.setattr(DummyMnist, "_info", info)
    monkeypatch.setattr(tfds, "list_builders", lambda **_: ["dummy_mnist"])
    monkeypatch.setattr(tfds, "builder", lambda name, data_dir: DummyMnist(data_dir=data_dir))
    return tmp_path


def test_a_data_set_is_prepared_if_it_is_not_there(prepared):
    examples = from_tfds("dummy_mnist", "train+test", prepared)
    assert len(examples) == 40
    assert Image.open(BytesIO(examples.sources[0])).size == (28, 28)


def test_a_split_can_be_a_part(prepared):
    assert len(from_tfds("dummy_mnist", "train[:25%]", prepared)) == 5


@pytest.mark.parametrize("split", ["nowhere", "train[:3", "train[:0]"])
def test_a_split_that_does_not_do_is_named(prepared, split):
    with pytest.raises(DataError, match=re.escape(f"The split '{split}' of 'dummy_mnist' cannot")):
        from_tfds("dummy_mnist", split, prepared)


def test_without_the_library_it_is_said_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ImportError, match=r"'mnist' needs .* pip install 'dolg-zoo\[recipes\]'"):
        from_tfds("mnist")
