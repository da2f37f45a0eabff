"""A model compiled for a runtime gives the descriptors of Keras, and is believed only if whole."""

import json
import logging
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from bounds import DESCRIPTOR, relative_error
from small_model import small_model

import dolg_zoo
from dolg_zoo import CompiledDOLG
from dolg_zoo.embedders import compiled
from dolg_zoo.embedders.compiled import load_compiled, remember_compiled
from dolg_zoo.presets import resolve_preset
from dolg_zoo.runtimes import RUNTIMES, CompilationError, cache, choice, measured
from dolg_zoo.runtimes.compile import pattern

COMPILED = [name for name in RUNTIMES if name != "keras"]


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """One cache for all tests here: to compile takes a while."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOLG_ZOO_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def model():
    """A network of random weights, for images of any size, that is compiled in a second."""
    return small_model(preset="a-model")


@pytest.fixture(scope="module")
def pristine(kept, model, tmp_path_factory):
    """What the model was compiled to, before anything was done to it."""
    pytest.importorskip("openvino")
    model.compile_for_inference("openvino")
    compiled_to = kept / "compiled" / model.model_id / "openvino-float32"
    return compiled_to, shutil.copytree(compiled_to, tmp_path_factory.mktemp("pristine") / "copy")


@pytest.fixture
def folder(pristine):
    compiled_to, copy = pristine
    return shutil.copytree(copy, compiled_to, dirs_exist_ok=True)


@pytest.fixture
def compilations(monkeypatch, model, pristine):
    """Which runtimes are compiled for; the model of these tests is so by copying, for speed."""
    made, write, its_id = [], compiled._write, model.model_id

    def compile_or_copy(compiling, folder, runtime, *rest):
        made.append(runtime)
        if compiling.model_id != its_id:
            return write(compiling, folder, runtime, *rest)
        for name in ("model.xml", "model.bin"):
            shutil.copy(pristine[1] / name, folder)
        return {"distance": 0.0}

    monkeypatch.setattr(compiled, "_write", compile_or_copy)
    return made


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_descriptors_are_those_of_keras_at_any_size(kept, model, rng, runtime):
    pytest.importorskip(RUNTIMES[runtime].module)
    images = [rng.integers(0, 256, (*size, 3), np.uint8) for size in ((64, 64), (90, 70), (33, 64))]
    whole = dolg_zoo.DOLG(model.net, dolg_zoo.ImageConverter(size=None, mode="original"))
    expected = whole.embed(images, runtime="keras")
    found = whole.embed(images, runtime=runtime)
    np.testing.assert_allclose(relative_error(found, expected), 0, atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=0, atol=1e-5)


@pytest.mark.parametrize("runtime", COMPILED)
def test_a_map_that_is_smaller_than_a_dilation_is_computed_too(kept, model, rng, runtime):
    pytest.importorskip(RUNTIMES[runtime].module)
    config = dolg_zoo.DOLGConfig(
        hidden_dim=8, descriptor_dim=6, dilation_rates=(6,), atrous_filters=4
    )
    net = dolg_zoo.DOLGNet(model.net.backbone, config=config)
    dilated = dolg_zoo.DOLG(net, dolg_zoo.ImageConverter(size=None, mode="original"))
    images = [rng.integers(0, 256, (*size, 3), np.uint8) for size in ((20, 64), (96, 60))]
    expected = dilated.embed(images, runtime="keras")
    found = dilated.embed(images, runtime=runtime)
    np.testing.assert_allclose(relative_error(found, expected), 0, atol=1e-4)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_threads_at_once_get_the_descriptors_that_one_gets(kept, model, rng, runtime):
    pytest.importorskip(RUNTIMES[runtime].module)
    infer = model.compile_for_inference(runtime).infer
    shapes = [(number % 3 + 1, 48 + 16 * (number % 2), 64, 3) for number in range(12)]
    batches = [rng.integers(0, 256, shape, np.uint8) for shape in shapes]
    expected = [infer(batch) for batch in batches]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(infer, batches * 8))
    for several, alone in zip(found, expected * 8, strict=True):
        assert np.allclose(several, alone, atol=DESCRIPTOR)


def test_it_has_the_model_id_and_the_settings_of_the_model(folder, model):
    fast = model.compile_for_inference("openvino")
    assert (fast.model_id, fast.runtime, fast.precision) == (
        model.model_id,
        "openvino",
        "float32",
    )
    assert fast.image_converter == model.image_converter
    assert fast.descriptor_dim == model.descriptor_dim


def test_it_says_what_it_is_in_a_line(model):
    found = repr(model.compile_for_inference("keras"))
    assert found == "<CompiledDOLG of a-model: keras, float32, 6 dimensions>"


def test_the_second_time_it_is_taken_from_the_cache(folder, model, compilations):
    model.compile_for_inference("openvino")
    assert compilations == []


@pytest.mark.parametrize("file", ["model.xml", "model.bin"])
def test_a_damaged_file_is_compiled_anew(folder, model, compilations, caplog, file):
    data = bytearray((folder / file).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / file).write_bytes(data)
    with caplog.at_level(logging.WARNING):
        model.compile_for_inference("openvino")
    assert compilations == ["openvino"] and f"{file} has changed" in caplog.text
    assert (folder / file).read_bytes() != bytes(data)


@pytest.mark.parametrize("text", ["[]", '{"made_by": 1}', "\udcff"])
def test_a_damaged_record_is_compiled_anew(folder, model, compilations, text):
    (folder / "record.json").write_text(text, errors="surrogateescape")
    model.compile_for_inference("openvino")
    assert compilations == ["openvino"]


@pytest.mark.parametrize("what", ["openvino", "processor"])
def test_what_another_version_or_processor_compiled_is_not_believed(
    folder, model, compilations, what
):
    record = json.loads((folder / "record.json").read_text())
    record["made_by"][what] = "another"
    (folder / "record.json").write_text(json.dumps(record))
    model.compile_for_inference("openvino")
    assert compilations == ["openvino"]


def test_other_weights_are_compiled_by_themselves(folder, model, compilations):
    changed = small_model(preset="a-model")
    kernel = changed.net.get_layer("descriptor").kernel
    kernel.assign_add(np.ones_like(kernel))
    fast = changed.compile_for_inference("openvino")
    assert compilations == ["openvino"] and fast.model_id != model.model_id


def test_a_runtime_that_computes_something_else_is_refused(kept, model, monkeypatch, tmp_path):
    pytest.importorskip("openvino")
    monkeypatch.setenv("DOLG_ZOO_CACHE", str(tmp_path))
    load = compiled.load
    monkeypatch.setattr(
        compiled, "load", lambda *a: lambda images: 1.001 * np.roll(load(*a)(images), 1, axis=1)
    )
    with pytest.raises(CompilationError, match="from those of Keras"):
        model.compile_for_inference("openvino")
    assert not [*tmp_path.rglob("model.*")]


def test_without_a_folder_to_keep_it_in_it_is_compiled_all_the_same(
    model, monkeypatch, tmp_path, caplog, rng
):
    pytest.importorskip("openvino")
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("DOLG_ZOO_CACHE", str(tmp_path / "file"))
    image = rng.integers(0, 256, (64, 64, 3), np.uint8)
    found = model.compile_for_inference("openvino").embed(image)
    assert np.allclose(found, model.embed(image, runtime="keras"), atol=1e-4)
    assert "Set DOLG_ZOO_CACHE to another folder" in caplog.text


def test_by_default_a_model_of_no_preset_is_not_compiled(model, monkeypatch):
    monkeypatch.delenv("DOLG_ZOO_RUNTIME", raising=False)
    own = dolg_zoo.DOLG(model.net, model.image_converter)
    assert own.routed() is own


def test_training_a_preset_on_is_seen(folder, model, monkeypatch, compilations, rng):
    monkeypatch.setenv("DOLG_ZOO_RUNTIME", "openvino")
    image = rng.integers(0, 256, (64, 64, 3), np.uint8)
    before = model.embed(image)
    bias = model.net.get_layer("descriptor").bias
    held = bias.numpy()
    try:
        bias.assign_add(np.linspace(0, 1, len(held)))
        after = model.embed(image)
        assert np.allclose(after, model.embed(image, runtime="keras"), atol=1e-4)
        assert not np.allclose(after, before, atol=1e-2) and compilations == ["openvino"]
    finally:
        bias.assign(held)


def test_a_compiled_model_says_what_it_is_when_another_route_is_asked_for(folder, model):
    with pytest.raises(ValueError, match="compiled for openvino in float32, not for onnx"):
        model.compile_for_inference("openvino").embed([], runtime="onnx")


def test_a_model_that_is_not_compiled_is_not_found(kept, model):
    assert load_compiled("0" * 32, "openvino", "float32") is None


@pytest.mark.slow
def test_a_preset_is_found_without_tensorflow(kept, embedded_model, photos):
    pytest.importorskip("openvino")
    expected = embedded_model.compile_for_inference("openvino").embed(photos)
    remember_compiled(embedded_model, resolve_preset())
    code = (
        "import sys, numpy as np\n"
        "from dolg_zoo import CompiledDOLG\n"
        f"found = CompiledDOLG.cached(runtime='openvino').embed({str(photos)!r})\n"
        "assert not {'tensorflow', 'keras'} & sys.modules.keys()\n"
        f"np.save({str(photos.parent / 'found.npy')!r}, found)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ)
    assert np.allclose(np.load(photos.parent / "found.npy"), expected, atol=DESCRIPTOR)


def test_the_link_from_a_preset_leads_to_no_file_of_its_own(kept, tmp_path):
    hashes = {"config.json": "0" * 64}
    link = cache._link(hashes)
    link.parent.mkdir(parents=True, exist_ok=True)
    for text in ('{"model_id": "../../etc"}', "[]", "{", '{"model_id": 5}'):
        link.write_text(text)
        assert cache.remembered_model(hashes) is None
    assert isinstance(link, Path)


def test_keras_is_not_looked_for_in_the_cache(kept):
    assert CompiledDOLG.cached(runtime="keras") is None


def test_a_runtime_that_cannot_compute_it_is_passed_over_and_is_not_tried_again(
    monkeypatch, tmp_path, caplog
):
    pytest.importorskip("ai_edge_litert")
    tried = []

    def refuse(model, folder):
        tried.append(folder)
        raise ValueError("there is no operation FlexPad")

    monkeypatch.setenv("DOLG_ZOO_CACHE", str(tmp_path))
    monkeypatch.setattr("dolg_zoo.runtimes.litert_runtime.write", refuse)
    monkeypatch.setattr(
        compiled,
        "routes",
        lambda runtime=None, *_, **__: [runtime] if runtime else ["litert", "keras"],
    )
    model, images = small_model(preset="a-model"), pattern(64, 64)
    for _ in range(2):
        found = model.compile_for_inference()
        assert found.runtime == "keras"
        assert np.allclose(found.infer(images), model.infer(images), atol=DESCRIPTOR)
    assert len(tried) == 1
    (warning,) = [record.getMessage() for record in caplog.records]
    assert "litert cannot compute this model: it cannot be converted: there is no" in warning
    assert warning.endswith("keras is used instead.")
    with pytest.raises(CompilationError, match="FlexPad"):
        model.compile_for_inference("litert")  # who names it is told
    # another version of the runtime may do better
    (kept,) = tmp_path.glob("compiled/*/litert-float32-fault.json")
    kept.write_text(kept.read_text().replace('"ai-edge-litert": "', '"ai-edge-litert": "0.'))
    model.compile_for_inference()
    assert len(tried) == 3


@pytest.fixture
def timed(monkeypatch, tmp_path):
    """A machine with LiteRT, ONNX Runtime and Keras; returns which compiled forms were asked for.

    LiteRT takes 20 ms for a batch, ONNX Runtime 2 ms.
    """
    asked = []

    def compiled_form(model, runtime, *_):
        asked.append(runtime)
        seconds = {"litert": 0.02, "onnx": 0.002, "keras": 0}[runtime]
        return SimpleNamespace(runtime=runtime, infer=lambda images: time.sleep(seconds))

    def fault_of(runtime, precision="float32"):
        return "it is not installed" if runtime == "openvino" else None

    monkeypatch.delenv("DOLG_ZOO_RUNTIME", raising=False)
    monkeypatch.setenv("DOLG_ZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(choice, "has_gpu", lambda: False)
    for module in (choice, measured):
        monkeypatch.setattr(module, "fault_of", fault_of)
    monkeypatch.setattr(compiled, "_compiled", compiled_form)
    monkeypatch.setattr(compiled, "FIRST_TURN", 0.01)
    return asked


def test_at_first_use_the_runtimes_are_timed_and_the_fastest_is_used_from_then_on(timed, caplog):
    model = small_model(preset="a-model")
    assert model.compile_for_inference().runtime == "onnx"
    assert timed == ["litert", "onnx", "onnx"]
    (warning,) = [record.getMessage() for record in caplog.records]
    assert "compiled once for each of litert, onnx, and they are timed" in warning
    assert model.compile_for_inference().runtime == "onnx"
    assert timed == ["litert", "onnx", "onnx", "onnx"] and len(caplog.records) == 1
    model.net.get_layer("descriptor").bias.assign_add(np.ones(6))  # another model by its weights
    assert model.compile_for_inference().runtime == "onnx" and len(caplog.records) == 2


@pytest.mark.parametrize("how", ["named", "variable", "int8", "no cache", "GPU"])
def test_nothing_is_timed_where_there_is_no_choice(timed, monkeypatch, tmp_path, caplog, how):
    arguments = {"named": ["litert"], "int8": [None, "int8"]}.get(how, [])
    if how == "variable":
        monkeypatch.setenv("DOLG_ZOO_RUNTIME", "litert")
    if how == "no cache":
        (tmp_path / "cache").write_text("a file in the way")
    if how == "GPU":
        monkeypatch.setattr(choice, "has_gpu", lambda: True)
    small_model(preset="a-model").compile_for_inference(*arguments)
    assert len(timed) == 1 and not caplog.records


def test_a_full_disk_is_no_fault_of_the_runtime(monkeypatch, tmp_path):
    pytest.importorskip("ai_edge_litert")

    def refuse(model, folder):
        raise OSError(28, "No space left on device")

    monkeypatch.setenv("DOLG_ZOO_CACHE", str(tmp_path))
    monkeypatch.setattr("dolg_zoo.runtimes.litert_runtime.write", refuse)
    with pytest.raises(OSError, match="No space left"):
        small_model().compile_for_inference("litert")
    assert not list(tmp_path.glob("compiled/*/*-fault.json"))


@pytest.mark.parametrize(
    "policy", ["mixed_float16", pytest.param("mixed_bfloat16", marks=pytest.mark.bfloat16)]
)
def test_a_model_of_mixed_precision_is_computed_by_keras_at_once(
    policy, monkeypatch, tmp_path, rng
):
    monkeypatch.setenv("DOLG_ZOO_CACHE", str(tmp_path))
    monkeypatch.delenv("DOLG_ZOO_RUNTIME")
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model = small_model(preset="small")
    finally:
        keras.config.set_dtype_policy(before)
    images = rng.integers(0, 256, (2, 40, 40, 3), np.uint8)
    expected = model.embed(images, runtime="keras")
    np.testing.assert_array_equal(model.embed(images), expected)
    fast = model.compile_for_inference()
    assert fast.runtime == "keras"
    # bfloat16 has 8 bits: each of some ten layers is off by 1/256 of its values
    np.testing.assert_allclose(relative_error(fast.embed(images), expected), 0, atol=0.1)


FORKED = """
import multiprocessing, os, sys
import numpy as np
import dolg_zoo

runtime, preset = sys.argv[1:]
images = np.random.default_rng(0).integers(0, 255, (2, 160, 224, 3), "uint8")
if runtime != "keras":
    model = dolg_zoo.embedder(preset, runtime=runtime)
    assert "tensorflow" not in sys.modules
    expected = model.embed(images)
    calls = [lambda: print(np.abs(model.embed(images) - expected).max() < 1e-3)]
else:
    import keras
    model = dolg_zoo.DOLG.from_preset(preset)
    compiled = model.compile_for_inference("keras")
    classifier = model.with_margin_head(2)
    classifier.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    labels = np.zeros(2)
    calls = [
        lambda: model.embed(images, runtime="keras"),
        lambda: compiled.embed(images),
        lambda: model.infer(images),
        lambda: model(images),
        lambda: model.net(images),
        lambda: model.predict(images, verbose=0),
        lambda: model.net.predict(images, verbose=0),
        lambda: model.explain(images[0]),
        lambda: dolg_zoo.DOLG.from_preset(preset),
        lambda: classifier.fit(images, labels, verbose=0),
        lambda: classifier.evaluate(images, labels, verbose=0),
        lambda: classifier.train_on_batch(images, labels),
        lambda: classifier.predict(images, verbose=0),
        lambda: classifier(images),
    ]

def work(call):
    try:
        call()
    except Exception as error:
        print(f"{type(error).__name__}: {error}")
    sys.stdout.flush()

for number, call in enumerate(calls):
    child = multiprocessing.get_context("fork").Process(target=work, args=[call])
    child.start()
    child.join(15)
    if child.is_alive():
        child.kill()
        print("waits for ever:", number, flush=True)
os._exit(0)
"""


@pytest.fixture(scope="module")
def saved(model, kept, tmp_path_factory):
    """The model as a preset folder."""
    folder = tmp_path_factory.mktemp("saved") / "preset"
    model.save_to_preset(folder)
    return folder


def said_by_forked_processes(runtime, preset):
    command = [sys.executable, "-c", FORKED, runtime, preset]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()


no_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
slow = pytest.mark.slow


@no_fork
@pytest.mark.parametrize(
    "runtime", ["litert", pytest.param("onnx", marks=slow), pytest.param("openvino", marks=slow)]
)
def test_a_compiled_model_embeds_in_a_forked_process(runtime, saved):
    pytest.importorskip(RUNTIMES[runtime].module)
    model = dolg_zoo.DOLG.from_preset(saved)
    model.compile_for_inference(runtime)
    remember_compiled(model, resolve_preset(saved))
    assert said_by_forked_processes(runtime, saved) == ["True"]


@slow
@no_fork
def test_keras_says_at_once_that_it_cannot_compute_in_a_forked_process(saved):
    said = said_by_forked_processes("keras", saved)
    assert len(said) == 14
    for line in said:
        assert line.startswith("ForkedProcessError: ") and '"spawn"' in line
