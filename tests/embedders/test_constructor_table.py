import json
from pathlib import Path

import keras
import pytest
import update_constructors

import dolg_zoo
from dolg_zoo.backbones import BACKBONES, build_backbone
from dolg_zoo.embedders.constructor_table import SIZES_FILE, list_constructors

ENTRIES = {entry.name.removeprefix("dolg_"): entry for entry in list_constructors()}


def test_what_follows_from_the_table_of_backbones_is_up_to_date():
    remedy = "python tools/update_constructors.py"
    assert list(json.loads(SIZES_FILE.read_text())) == list(BACKBONES), remedy
    for path, text in update_constructors.stubs(Path(dolg_zoo.__file__).parent, BACKBONES).items():
        assert path.read_text() == text, remedy
    assert all(hasattr(dolg_zoo, entry.name) for entry in ENTRIES.values())


def test_the_weights_are_named_with_their_source():
    assert ENTRIES["resnet50"].imagenet == "hf://timm/resnet50.tv_in1k"
    assert ENTRIES["resnet50"].pretrained == ("gldv2",)
    assert ENTRIES["efficientnet_b0"].imagenet == "keras.applications.EfficientNetB0"
    assert ENTRIES["densenet121"].imagenet == "Kaggle: densenet121_imagenet"
    assert ENTRIES["efficientnet_lite_b0"].imagenet == "in the package"
    assert ENTRIES["resnet18_v1"].imagenet is None and ENTRIES["resnet18_v1"].pretrained == ()
    with_weights = [name for name, entry in ENTRIES.items() if entry.imagenet]
    assert with_weights == dolg_zoo.list_backbones(weights="imagenet")


SLOW = ("densenet121", "mit_b0", "nfnet_f0", "resnet50")


@pytest.mark.parametrize(
    "name", ["mobilenet_v3_small", *(pytest.param(n, marks=pytest.mark.slow) for n in SLOW)]
)
def test_the_figures_are_those_of_the_network(name):
    entry = ENTRIES[name]
    measured = update_constructors.measure(name)
    keras.backend.clear_session()
    assert measured == {
        "parameters": entry.parameters,
        "multiply_adds": entry.multiply_adds,
        "channels": list(entry.channels),
    }


def test_the_parameters_are_those_of_a_model():
    model = dolg_zoo.dolg_mobilenet_v3_small()
    assert ENTRIES["mobilenet_v3_small"].parameters == model.net.count_params()


@pytest.mark.slow
def test_multiply_adds_are_the_published_ones():
    """torchvision says 4.09 billion for ResNet-50 at 224 pixels, 2 million of the classifier."""
    backbone = build_backbone("resnet50", input_shape=(224, 224, 3))

    counted = update_constructors.multiply_adds(backbone, (1, 224, 224, 3))

    assert counted == pytest.approx(4.089e9 - 2.048e6, rel=1e-3)


def test_each_kind_of_operation_is_counted():
    layers = keras.layers
    images = keras.Input((8, 6, 4))
    x = layers.Conv2D(10, (3, 1), padding="same")(images)  # 48 * 10 * 3 * 1 * 4
    x = layers.DepthwiseConv2D(5, depth_multiplier=2, padding="same")(x)  # 48 * 20 * 25
    x = layers.Reshape((48, 20))(x)
    x = layers.Dense(7)(x)  # 48 * 20 * 7
    x = layers.EinsumDense("abc,cd->abd", (48, 3))(x)  # 48 * 7 * 3
    model = keras.Model(
        images, keras.ops.matmul(keras.ops.transpose(x, (0, 2, 1)), x)
    )  # 3 * 48 * 3

    counted = update_constructors.multiply_adds(model, (1, 8, 6, 4))

    assert counted == 5760 + 24000 + 6720 + 1008 + 432
