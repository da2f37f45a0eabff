import subprocess
import sys

import keras
import pytest

import dolg_zoo
from dolg_zoo.backbones import BACKBONES, build_backbone


def test_every_promised_name_is_in_the_table():
    promised = {
        *(f"efficientnet_b{i}" for i in range(8)),
        *(f"efficientnet_v2_{v}" for v in ("b0", "b1", "b2", "b3", "s", "m", "l")),
        *(f"efficientnet_lite_b{i}" for i in range(5)),
        *(f"resnet{d}_{v}" for d in (18, 34, 50, 101, 152) for v in ("v1", "v2")),
        *(f"resnet{d}" for d in (50, 101, 152)),
        *(f"resnest{d}" for d in (50, 101, 200, 269)),
        *(f"nfnet_f{i}" for i in range(4)),
        *(f"eca_nfnet_l{i}" for i in range(3)),
        *(f"densenet{d}" for d in (121, 169, 201)),
        *(f"mobilenet_v3_{s}" for s in ("small", "large")),
        *(f"csp_darknet_{s}" for s in ("tiny", "s", "m", "l", "xl")),
        *(f"mit_b{i}" for i in range(6)),
    }

    assert set(BACKBONES) == promised


def test_listing_backbones_imports_no_framework():
    code = (
        "import sys; from dolg_zoo.backbones import BACKBONES; assert BACKBONES;"
        "print(sorted({'keras', 'keras_cv', 'tensorflow', 'torch'} & set(sys.modules)))"
    )

    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "name", ["resnet50", "resnest50", "nfnet_f0", "eca_nfnet_l0", "efficientnet_lite_b0"]
)
def test_our_own_networks_need_no_keras_cv(name, monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_cv", None)  # to import it is an error
    with keras.StatelessScope(initialize_variables=False):  # no weight is looked at
        assert build_backbone(name).name == name
    keras.backend.clear_session()


def test_functions_survive_the_import_of_the_submodules_they_live_in():
    import dolg_zoo.backbones as backbones
    import dolg_zoo.backbones.build
    import dolg_zoo.backbones.convolution
    import dolg_zoo.backbones.imagenet
    import dolg_zoo.backbones.keras_cv
    import dolg_zoo.backbones.nfnet
    import dolg_zoo.backbones.resnest
    import dolg_zoo.backbones.resnet
    import dolg_zoo.backbones.taps  # noqa: F401

    names = set(backbones.__all__) - {"BACKBONES"}
    assert all(callable(getattr(backbones, name)) for name in names)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("resnet1??",), ["resnet101", "resnet152"]),
        (("efficientnet_lite*", "imagenet"), [f"efficientnet_lite_b{i}" for i in range(5)]),
        (("densenet*", "imagenet"), ["densenet121", "densenet169", "densenet201"]),
        (("nothing*",), []),
    ],
)
def test_backbones_are_listed_by_pattern_and_weights(arguments, expected):
    assert dolg_zoo.list_backbones(*arguments) == expected


def test_all_backbones_are_listed_and_other_weights_are_an_error():
    assert dolg_zoo.list_backbones() == list(dolg_zoo.BACKBONES)
    with pytest.raises(ValueError, match="'gldv2'"):
        dolg_zoo.list_backbones(weights="gldv2")
