"""The embedded preset is compiled without TensorFlow, to what Keras computes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from bounds import DEEP_DESCRIPTOR, DESCRIPTOR, relative_error
from small_model import small_model

from dolg_zoo import DOLG, CompiledDOLG
from dolg_zoo.errors import WeightsError
from dolg_zoo.explaining.without_keras import LiteRTExplainer
from dolg_zoo.models import whitened_net
from dolg_zoo.presets import DEFAULT_PRESET, resolve_preset
from dolg_zoo.runtimes import templates
from dolg_zoo.runtimes.compile import load, pattern
from dolg_zoo.weights import load_manifest

FILE = "litert-float32.npz"


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("DOLG_ZOO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def changeable(monkeypatch, tmp_path):
    """The folder of a copy of the template, its manifest agreeing with whatever is in it."""
    shipped = resolve_preset().folder
    folder = tmp_path / "presets" / DEFAULT_PRESET
    folder.mkdir(parents=True)
    for name in (FILE, "model.weights.h5"):
        (folder / name).write_bytes((shipped / name).read_bytes())
    monkeypatch.setattr(templates, "EMBEDDED", folder.parent)
    return folder


def test_in_a_new_process_the_default_preset_embeds_without_tensorflow(
    embedded_model, photos, tmp_path
):
    code = (
        "import sys, numpy as np, dolg_zoo\n"
        f"found = dolg_zoo.embedder(runtime='litert').embed({str(photos)!r})\n"
        "assert not {'tensorflow', 'keras', 'matplotlib', 'sklearn'} & sys.modules.keys()\n"
        f"np.save({str(tmp_path / 'found.npy')!r}, found)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ)
    found = np.load(tmp_path / "found.npy")
    expected = embedded_model.embed(photos, runtime="keras")
    np.testing.assert_allclose(relative_error(found, expected), 0, atol=DEEP_DESCRIPTOR)


def test_it_is_the_compiled_form_of_the_very_model(embedded_model):
    found = CompiledDOLG.cached(runtime="litert")
    assert found.model_id == embedded_model.model_id
    assert found.metadata == embedded_model.metadata
    assert found.image_converter.to_config() == embedded_model.image_converter.to_config()
    images = pattern(96, 160)
    expected = embedded_model.infer(images)
    error = relative_error(found.infer(images), expected)
    np.testing.assert_allclose(error, 0, atol=DEEP_DESCRIPTOR)
    # to the model itself there is nothing left to compile
    assert embedded_model.compile_for_inference("litert").record["made_by"]


def test_what_was_made_is_kept_and_taken_from_the_cache(cache, monkeypatch):
    CompiledDOLG.cached(runtime="litert")
    (made,) = cache.glob("compiled/*/litert-float32/model.tflite")
    monkeypatch.setattr(templates.Template, "write", None)  # not called again
    assert CompiledDOLG.cached(runtime="litert").record["made_by"]
    assert made.is_file()


def test_without_a_cache_folder_it_is_made_each_time(cache, caplog):
    cache.write_text("a file in its place")
    images = pattern(64, 64)
    assert np.allclose(
        np.linalg.norm(CompiledDOLG.cached(runtime="litert").infer(images), axis=1), 1
    )
    assert "DOLG_ZOO_CACHE" in caplog.text


def test_other_weights_have_no_template():
    assert templates.find_template("litert-float32", model_id="0" * 32) is None
    assert templates.find_template("litert-int8") is None
    assert templates.find_template("litert-float32", "dolg_resnet50_gldv2") is None


def test_a_template_that_was_changed_is_not_used(changeable):
    path = changeable / FILE
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(WeightsError, match=r"litert-float32\.npz.*sha256.*reinstall"):
        CompiledDOLG.cached(runtime="litert")
    path.unlink()
    with pytest.raises(WeightsError, match="missing"):
        CompiledDOLG.cached(runtime="litert")


def test_other_weights_beneath_it_do_not_make_the_file_that_was_compared(changeable):
    with h5py.File(changeable / "model.weights.h5", "r+") as weights:
        weights["layers/dense/vars/0"][0, 0] += 1
    with pytest.raises(WeightsError, match=r"model\.tflite.*: its sha256 is"):
        CompiledDOLG.cached(runtime="litert")


def test_the_template_is_small_and_pinned():
    pinned = load_manifest().presets[DEFAULT_PRESET].files[FILE]
    assert (resolve_preset().folder / FILE).stat().st_size == pinned.size < 400_000


@pytest.mark.slow
def test_the_tool_takes_kernels_apart_and_the_templates_put_them_together(
    load_tool, monkeypatch, tmp_path, rng
):
    tool = load_tool("make_runtime_template")
    monkeypatch.setattr(tool, "SMALL", 100)
    small = small_model()
    whitened = whitened_net(small.net, rng.normal(size=(6, 4)), rng.normal(size=4) / 9)
    model = DOLG(whitened, small.image_converter)
    model.save_to_preset(tmp_path / "preset")
    arguments = ["make", "--preset", str(tmp_path / "preset"), "--out", str(tmp_path / "made")]
    monkeypatch.setattr("sys.argv", arguments)
    tool.main()
    found = {}
    for path in (tmp_path / "made").iterdir():
        with np.load(path) as arrays:
            found[path.name] = templates.Template(path, json.loads(bytes(arrays["facts"])))
    template, maps = found[FILE], found["maps-litert-float32.npz"]
    assert len(template.facts["kernels"]) >= 3 and template.record["distance"] <= 1e-5
    assert len(maps.facts["last_layers"]) == 2 and maps.record["distance"] <= 1e-5
    template.write(tmp_path, tmp_path / "preset" / "model.weights.h5")
    images = pattern(64, 96)
    described = load(tmp_path, "litert", "float32")(images)
    np.testing.assert_allclose(relative_error(described, model.infer(images)), 0, atol=DESCRIPTOR)
    explainer = LiteRTExplainer(maps, resolve_preset(tmp_path / "preset"))
    for image, theirs in zip(images, model.infer(images), strict=True):
        found = explainer.decompose(image).descriptor
        np.testing.assert_allclose(relative_error(found, theirs), 0, atol=DESCRIPTOR)
    assert Path(template.facts["file"]["name"]) == Path("model.tflite")
