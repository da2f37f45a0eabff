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
}
NAME = "dolg_resnet50_gldv2"
# argv: the manifest; an npz with the images; the npz to write
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

manifest, images, out = sys.argv[1:]
registry.load_manifest = lambda: load_manifest(Path(manifest))
first = dolg_zoo.DOLG.from_preset("dolg_resnet50_gldv2")
shutil.rmtree(os.environ["HF_HOME"])
# from the converted result alone
model = dolg_zoo.dolg_resnet50(pretrained="gldv2")
assert all(np.array_equal(a, b) for a, b in zip(first.net.weights, model.net.weights))
try:
    head = model.load_margin_head()
except PresetError:
    head = None
outputs = {}
for name, image in np.load(images).items():
    outputs[f"descriptor/{name}"] = descriptor = model.net(image[None])
    if head is not None:  # CurricularFace's t goes on from image to image
        outputs[f"logits/{name}"] = head([descriptor, np.array([3])], training=True)
outputs["metadata"] = np.array(json.dumps(model.metadata))
np.savez(out, **outputs)
"""


@pytest.fixture(scope="module", params=CASES)
def model(request):
    framework = "paddle" if request.param == "paddle" else "torch"
    if importlib.util.find_spec(framework) is None:
        pytest.skip(f"needs {framework}")
    return request.param


@pytest.fixture(scope="module")
def checkpoint(model, shared, tmp_path_factory):
    form, layout, suffix = CASES[model]
    path = tmp_path_factory.mktemp(model) / f"upstream{suffix}"
    golden = shared / "golden"
    arguments = [golden / "fill.py", golden / f"{layout}_keys.json", model, form, path]
    subprocess.run([sys.executable, WRITE, *arguments], check=True)
    yield path
    path.unlink()


@pytest.fixture(scope="module")
def outputs(model, checkpoint, golden, module_hub, tmp_path_factory):
    """What a user without PyTorch or Paddle gets, by asking for the preset."""
    folder = tmp_path_factory.mktemp("user")
    data = checkpoint.read_bytes()
    entry = {
        "description": "a test",
        "architecture": "resnet50",
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
    manifest = {"format_version": 1, "presets": {}, "checkpoints": {NAME: entry}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    images = {"224x224": golden.image(224, 224), "193x257": golden.image(193, 257)}
    np.savez(folder / "images.npz", **images)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, "manifest.json", "images.npz", "outputs.npz"],
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
    with np.load(folder / "outputs.npz") as arrays:
        return dict(arrays)


def relative_difference(ours, theirs):
    return np.abs(ours - theirs).max() / np.abs(theirs).max()


def test_the_preset_gives_upstreams_outputs_and_says_where_it_is_from(
    model, outputs, checkpoint, golden
):
    recorded = golden.read(CASES[model][1])
    for size, upstream in (recorded if model == "paddle" else recorded[model]).items():
        ours, theirs = outputs[f"descriptor/{size}"][0], np.array(upstream["descriptor"])
        cosine = ours @ theirs / np.linalg.norm(ours) / np.linalg.norm(theirs)
        np.testing.assert_allclose(relative_difference(ours, theirs), 0, atol=2e-5)
        np.testing.assert_allclose(cosine, 1, rtol=0, atol=1e-7)
        if model == "paddle":  # whose files are for inference alone
            assert f"logits/{size}" not in outputs
        else:
            logits = outputs[f"logits/{size}"][0, :8], np.array(upstream["logits_head"])
            np.testing.assert_allclose(relative_difference(*logits), 0, atol=2e-5)
    metadata = json.loads(outputs["metadata"].item())
    assert metadata["preset"] == NAME
    assert metadata["provenance"] == "a third party's upload"
    assert metadata["source"]["sha256"] == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
