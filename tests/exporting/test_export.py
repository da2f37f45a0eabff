import json
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf
from bounds import COSINE, DESCRIPTOR
from small_model import small_model

from dolg_zoo import DOLG
from dolg_zoo.errors import OutputError
from dolg_zoo.exporting import ExportError, export
from dolg_zoo.preprocessing import load_image
from dolg_zoo.runtimes import RuntimeMissingError
from dolg_zoo.shipped_photos import shipped_photos

KEPT = {
    "savedmodel": "served/assets.extra/dolg.json",
    "onnx": "m.onnx",
    "openvino": "m.xml",
    "litert": "m.json",
}


@pytest.fixture(scope="module")
def model():
    return small_model(name="small", license="CC0-1.0")


@pytest.fixture
def images(rng):
    return rng.integers(0, 256, (2, 32, 32, 3), dtype="uint8")


@pytest.fixture
def expected(model, images):
    return np.asarray(model(images.astype("float32")))


def test_a_saved_model_is_served_by_its_signature_and_called(
    model, tmp_path, images, expected, rng
):
    model.export(tmp_path / "served")
    loaded = tf.saved_model.load(str(tmp_path / "served"))
    assert callable(loaded)
    np.testing.assert_allclose(loaded(images), expected, atol=DESCRIPTOR)
    served = loaded.signatures["serving_default"]
    assert served.structured_input_signature[1]["images"].dtype == tf.uint8
    np.testing.assert_allclose(
        served(images=tf.constant(images))["descriptors"], expected, atol=DESCRIPTOR
    )
    other = rng.integers(0, 256, (1, 40, 56, 3), dtype="uint8")
    np.testing.assert_allclose(loaded(other), model(other.astype("float32")), atol=DESCRIPTOR)


def test_an_onnx_file_has_named_axes_and_says_how_to_resize(model, tmp_path, images, expected):
    onnx, runtime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    pytest.importorskip("tf2onnx")
    model.export(tmp_path / "m.onnx", format="onnx")
    network = onnx.load(tmp_path / "m.onnx")
    onnx.checker.check_model(network, full_check=True)
    axes = [axis.dim_param for axis in network.graph.input[0].type.tensor_type.shape.dim]
    assert axes[:3] == ["batch", "height", "width"]
    (said,) = (json.loads(prop.value) for prop in network.metadata_props)
    assert said["image_converter"] == model.image_converter.to_config()
    assert said["license"] == "CC0-1.0"
    session = runtime.InferenceSession(tmp_path / "m.onnx")
    np.testing.assert_allclose(session.run(None, {"images": images})[0], expected, atol=DESCRIPTOR)


def test_openvino_reads_what_was_written_and_its_record(model, tmp_path, images, expected):
    openvino = pytest.importorskip("openvino")
    model.export(tmp_path / "m.xml", format="openvino")
    network = openvino.Core().read_model(tmp_path / "m.xml")
    assert json.loads(network.get_rt_info(["dolg_zoo"]).astype(str))["preset"] == "small"
    compiled = openvino.Core().compile_model(
        network, "CPU", {"INFERENCE_PRECISION_HINT": openvino.Type.f32}
    )
    np.testing.assert_allclose(compiled(images)[0], expected, atol=DESCRIPTOR)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.bin", "m.xml"]


def test_litert_runs_at_the_size_of_the_converter(model, tmp_path, images, expected):
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    facts = model.export(tmp_path / "m.tflite", format="litert")
    assert facts["size"] == [32, 32]
    interpreter = litert.Interpreter(str(tmp_path / "m.tflite"))
    (given,), (out,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert given["shape"].tolist()[1:] == [32, 32, 3] and given["dtype"] == np.uint8
    interpreter.resize_tensor_input(given["index"], images.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(given["index"], images)
    interpreter.invoke()
    np.testing.assert_allclose(interpreter.get_tensor(out["index"]), expected, atol=DESCRIPTOR)
    assert json.loads((tmp_path / "m.json").read_text())["preset"] == "small"


def test_a_size_is_compared_with_the_resizing_of_the_model_as_well(model, tmp_path, caplog):
    facts = model.export(tmp_path / "served", size=(20, 36))
    small = DOLG(model.net, replace(model.image_converter, size=(20, 36), mode="squash"))
    photos = [load_image(path) for path in shipped_photos()]
    expected = (small.embed(photos) * model.embed(photos)).sum(axis=1)
    measured = facts["cosine_to_own_resizing"]
    assert measured["mean"] == pytest.approx(expected.mean(), abs=COSINE)
    assert measured["lowest"] == pytest.approx(expected.min(), abs=COSINE)
    told = [record for record in caplog.records if "20 x 36" in record.getMessage()]
    assert len(told) == (expected.mean() < export.NEAR)
    assert "cosine_to_own_resizing" not in model.export(tmp_path / "own")


def test_a_size_at_which_descriptors_are_others_is_said(model, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(export, "NEAR", 1.1)
    model.export(tmp_path / "served", size=(20, 36))
    (record,) = (each for each in caplog.records if "20 x 36" in each.getMessage())
    assert "mixed" in record.getMessage()


def test_what_keras_takes_is_kerass_own(model, tmp_path, images):
    spec = keras.InputSpec(dtype="float32", shape=(None, 32, 32, 3))
    assert model.export(tmp_path / "theirs", "tf_saved_model", False, [spec]) is None
    theirs = tf.saved_model.load(str(tmp_path / "theirs"))
    assert theirs.serve(tf.constant(images, tf.float32)).shape == (2, 6)


def test_an_export_is_replaced_and_nothing_else_is(model, tmp_path):
    model.export(tmp_path / "served", "tf_saved_model", verbose=False)
    model.export(tmp_path / "served")
    assert [path.name for path in tmp_path.iterdir()] == ["served"]
    (tmp_path / "served" / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="not an export"):
        model.export(tmp_path / "served")
    assert (tmp_path / "served" / "notes.txt").read_text() == "mine"


def test_descriptors_that_differ_leave_nothing(model, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "TOLERANCE", -1.0)
    with pytest.raises(ExportError, match="nothing was written"):
        model.export(tmp_path / "served")
    assert not [*tmp_path.iterdir()]


def test_a_refusal_leaves_nothing(model, tmp_path):
    def refuse(exported):
        raise ExportError("no")

    with pytest.raises(ExportError, match="no"):
        model.export(tmp_path / "served", accept=refuse)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("path", "options", "said"),
    [
        ("m.foo", {"format": "foo"}, "savedmodel, openvino, onnx, litert"),
        ("m.onnx", {}, "a folder.*--format onnx"),
        ("m.keras", {}, "a folder"),
        ("m.bin", {"format": "onnx"}, r"ends in \.onnx"),
        ("served", {"precision": "int8"}, "float32 only"),
        ("served", {"precision": "bfloat16"}, "INFERENCE_PRECISION_HINT"),
        ("served", {"size": (0, 3)}, "height, width"),
    ],
)
def test_what_cannot_be_is_said_before_any_work(model, tmp_path, path, options, said):
    pytest.importorskip("onnx")
    pytest.importorskip("tf2onnx")
    with pytest.raises(ExportError, match=said):
        model.export(tmp_path / path, **options)
    assert not [*tmp_path.iterdir()]


def test_litert_asks_for_a_size_where_images_have_many(model, tmp_path):
    pytest.importorskip("ai_edge_litert")
    free = DOLG(model.net, type(model.image_converter)(size=32, mode="short_side"))
    with pytest.raises(ExportError, match="--size HEIGHT,WIDTH"):
        free.export(tmp_path / "m.tflite", "litert")


def test_a_missing_package_is_named_with_its_extra(model, tmp_path, monkeypatch):
    from dolg_zoo.runtimes import registry

    monkeypatch.setattr(registry, "is_installed", lambda name: False)
    with pytest.raises(RuntimeMissingError, match=r"dolg-zoo\[openvino\]"):
        model.export(tmp_path / "m.xml", "openvino")
