"""Upstream checkpoints by the whole road: written by their framework, served, verified, ported.

Where they arrive neither PyTorch nor Paddle can be imported, and what comes out is compared with
what the upstream code gave for the same parameters and images.
"""

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.slow

WRITE = Path(__file__).parents[1] / "support" / "write_checkpoint.py"
REPO = "someone/dolg"
CASES = {  # model: the upstream's form of file, format, suffix
    "r50": ("pyth", "official_pytorch", ".pyth"),
    "paddle": ("pdparams", "official_paddle", ".pdparams"),
    "dongkyuk": ("ckpt", "dongkyuk_pytorch", ".ckpt"),
}
BACKBONES = {"dongkyuk": "resnet101"}
# argv: the backbone; the manifest; an npz with the images, in batches; the npz to write
SCRIPT = """
import json, os, shutil, sys
from pathlib import Path

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "paddle"):
            raise ModuleNotFoundError(f"No module named {name!r}")

sys.meta_path.insert(0, Absent())

import numpy as np
import dolg_zoo
from dolg_zoo.presets import PresetError, registry
from dolg_zoo.weights import load_manifest

architecture, manifest, images, out = sys.argv[1:]
registry.load_manifest = lambda: load_manifest(Path(manifest))
first = dolg_zoo.DOLG.from_preset(f"dolg_{architecture}_gldv2")
shutil.rmtree(os.environ["HF_HOME"])
# from the converted result alone
model = getattr(dolg_zoo, f"dolg_{architecture}")(pretrained="gldv2")
assert all(np.array_equal(a, b) for a, b in zip(first.net.weights, model.net.weights))
try:
    head = model.load_margin_head()
except PresetError:
    head = None
found = {}
for name, batch in np.load(images).items():
    found[f"descriptor/{name}"] = descriptors = model.net(batch)
    if head is not None:
        labels = np.array([3, 5])[: len(batch)]  # CurricularFace's t goes on from image to image
        found[f"logits/{name}"] = head([descriptors, labels], training=True)
found["metadata"] = np.array(json.dumps(model.metadata))
np.savez(out, **found)
"""


@pytest.fixture(scope="module", params=CASES)
def model(request):
    framework = "paddle" if request.param == "paddle" else "torch"
    if importlib.util.find_spec(framework) is None:
        pytest.skip(f"needs {framework}")
    return request.param


@pytest.fixture(scope="module")
def checkpoint(model, shared, tmp_path_factory):
    form, _, suffix = CASES[model]
    path = tmp_path_factory.mktemp(model) / f"upstream{suffix}"
    golden = shared / "golden"
    keys = {"paddle": "official_paddle_keys", "dongkyuk": "dongkyuk_pytorch_keys"}
    keys_file = golden / f"{keys.get(model, 'official_pytorch_keys')}.json"
    arguments = [golden / "fill.py", keys_file, model, form, path]
    subprocess.run([sys.executable, WRITE, *arguments], check=True)
    yield path
    path.unlink()


@pytest.fixture(scope="module")
def found(model, checkpoint, golden, module_hub, tmp_path_factory):
    """What a user without PyTorch or Paddle gets, by asking for the preset."""
    folder = tmp_path_factory.mktemp("user")
    data = checkpoint.read_bytes()
    architecture = BACKBONES.get(model, "resnet50")
    entry = {
        "description": "a test",
        "architecture": architecture,
        "descriptor_dim": 512,
        "dataset": "GLDv2-clean",
        "repo": REPO,
        "revision": module_hub.commit(REPO, {checkpoint.name: data}),
        "file": checkpoint.name,
        "size": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "format": CASES[model][1],
        "license": "MIT",
        "license_note": "",
        "provenance": "a third party's upload",
        "figures": [],
        "figures_note": "",
    }
    manifest = {"format_version": 1, "presets": {}, "checkpoints": {}}
    manifest["checkpoints"][f"dolg_{architecture}_gldv2"] = entry
    (folder / "manifest.json").write_text(json.dumps(manifest))
    batches = {"224x224": [golden.image(224, 224)], "193x257": [golden.image(193, 257)]}
    if model == "dongkyuk":
        batches = {"batch": [golden.image(224, 224, seed) for seed in (0, 1)]}
    np.savez(folder / "images.npz", **batches)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, architecture, "manifest.json", "images.npz", "found.npz"],
        cwd=folder,
        env={
            **os.environ,
            "HF_ENDPOINT": module_hub.endpoint,
            "HF_HOME": str(folder / "hf"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "DOLG_ZOO_CACHE": str(folder / "cache"),
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert module_hub.count("GET") == 1
    module_hub.requests.clear()
    with np.load(folder / "found.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def upstream(model, golden):
    """(name, index) of an image in its batch, and what the upstream code gave for it."""
    if model == "paddle":
        return {(size, 0): values for size, values in golden.read("official_paddle").items()}
    if model != "dongkyuk":
        return {(size, 0): value for size, value in golden.read("official_pytorch")[model].items()}
    values = golden.read("dongkyuk_pytorch")
    descriptors = values["224x224_batch_seed0_seed1"]["descriptor"]
    return {
        ("batch", i): {"descriptor": descriptors[i], "logits_head": values["logits_head"][i]}
        for i in (0, 1)
    }


def is_close(got, expected, share=2e-5):
    return np.allclose(got, expected, rtol=0, atol=share * np.abs(expected).max())


def test_descriptors_are_upstreams(found, upstream, record_property):
    for (name, index), expected in upstream.items():
        descriptor = found[f"descriptor/{name}"][index].astype(np.float64)
        expected = np.array(expected["descriptor"])
        cosine = descriptor @ expected / np.linalg.norm(descriptor) / np.linalg.norm(expected)
        difference = np.abs(descriptor - expected).max() / np.abs(expected).max()
        print(f"{name} [{index}]: largest difference {difference:.1e}, 1 - cosine {1 - cosine:.1e}")
        np.testing.assert_allclose(difference, 0, atol=2e-5)
        np.testing.assert_allclose(cosine, 1, rtol=0, atol=1e-7)


def test_logits_of_the_margin_head_are_upstreams(model, found, upstream, golden):
    if model == "paddle":
        assert "logits/224x224" not in found
        return
    for (name, index), expected in upstream.items():
        assert is_close(found[f"logits/{name}"][index][:8], expected["logits_head"])
    if model == "dongkyuk":
        logits = found["logits/batch"].astype(np.float64)
        losses = np.log(np.exp(logits).sum(axis=1)) - logits[[0, 1], [3, 5]]
        assert is_close(losses.mean(), golden.read("dongkyuk_pytorch")["loss_labels_3_5"])


def test_the_preset_says_what_it_is(model, found, checkpoint):
    metadata = json.loads(found["metadata"].item())
    assert metadata["preset"] == f"dolg_{BACKBONES.get(model, 'resnet50')}_gldv2"
    assert metadata["provenance"] == "a third party's upload"
    assert metadata["source"]["sha256"] == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
