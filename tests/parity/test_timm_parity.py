"""Our ResNet, ResNeSt and NFNet on weights with timm's names, against PyTorch, layer for layer."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from dolg_zoo.backbones import BACKBONES, build_backbone, to_be_filled
from dolg_zoo.backbones.nfnet import nfnet
from dolg_zoo.backbones.resnest import resnest
from dolg_zoo.backbones.taps import tap_layers
from dolg_zoo.checkpoints.porting import port_timm

if importlib.util.find_spec("torch") is None:  # it is imported in another process, and not here
    pytest.skip("needs torch", allow_module_level=True)

REFERENCES = Path(__file__).resolve().parents[2] / "tools" / "references"
SIZES = [(65, 97), (96, 51)]
NARROW = {
    "resnest": (resnest, {"blocks": [2, 1, 2, 1], "stem_width": 8, "width": 16}),
    "nfnet": (nfnet, {"blocks": [2, 1, 2, 1], "features": 40, "width": 32}),
    "eca_nfnet": (
        nfnet,
        {"blocks": [2, 1, 2, 1], "features": 40, "width": 32, "family": "eca_nfnet"},
    ),
}


def reference(folder, builder, arguments, images):
    """What the PyTorch network of a builder has as weights and as maps of the images."""
    given, found = folder / "images.npz", folder / "found.npz"
    np.savez(given, **images)
    command = [sys.executable, REFERENCES / f"{builder}.py", json.dumps(arguments), given, found]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    with np.load(found) as arrays:
        found.unlink()  # hundreds of megabytes
        return dict(arrays)


def state_of(arrays):
    return {key.removeprefix("state/"): a for key, a in arrays.items() if key.startswith("state/")}


def fill(backbone, state):
    ported = port_timm(state, {w.path: tuple(w.shape) for w in backbone.weights})
    for weight in backbone.weights:
        weight.assign(ported[weight.path])


def check_maps(backbone, arrays, images):
    for name, image in images.items():
        for tap, ours in zip(("local", "global"), backbone(image[None]), strict=True):
            theirs = arrays[f"{tap}/{name}"]
            assert ours.shape[1:] == theirs.shape
            bound = 2e-5 * np.abs(theirs).max()
            np.testing.assert_allclose(ours[0], theirs, rtol=0, atol=bound, err_msg=f"{tap} {name}")


def drawn(rng, sizes):
    return {f"{h}x{w}": rng.normal(size=(h, w, 3)).astype(np.float32) for h, w in sizes}


@pytest.mark.parametrize("family", NARROW)
def test_maps_of_few_blocks_are_those_of_pytorch(family, tmp_path, rng):
    build, arguments = NARROW[family]
    images = drawn(rng, SIZES)
    arrays = reference(tmp_path, build.__name__, arguments, images)
    network, levels = build(**arguments)
    backbone = tap_layers(network, ("P4", "P5"), levels)

    fill(backbone, state_of(arrays))

    check_maps(backbone, arrays, images)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnest50", "nfnet_f0"])
def test_maps_at_full_size_are_those_of_pytorch(name, tmp_path, rng):
    spec = BACKBONES[name]
    images = drawn(rng, [(128, 128), (97, 161)])
    arrays = reference(tmp_path, spec.builder, spec.arguments, images)
    with to_be_filled():
        backbone = build_backbone(name)

    fill(backbone, state_of(arrays))

    check_maps(backbone, arrays, images)
    keras.backend.clear_session()
