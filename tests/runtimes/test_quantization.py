import keras
import numpy as np
import pytest
from small_model import small_model

import dolg_zoo
from dolg_zoo.preprocessing import ImageConverter
from dolg_zoo.runtimes import RuntimeMissingError, registry
from dolg_zoo.runtimes.quantization import calibration_images


def test_unreadable_images_are_left_out(photos):
    (photos / "bad.png").write_bytes(b"no image")
    found = calibration_images(ImageConverter(size=32), sorted(photos.glob("*.png")))
    assert [image.shape for image in found] == [(32, 32, 3)] * 3


@pytest.mark.parametrize("none", [None, []])
def test_no_images_say_how_to_give_them(none):
    with pytest.raises(ValueError, match="--calibration DIR"):
        calibration_images(ImageConverter(), none)


def test_none_that_can_be_read_is_an_error(tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match="None of the 1 images"):
        calibration_images(ImageConverter(), [tmp_path / "bad.png"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("runtime", "modules"),
    [
        ("openvino", ["openvino", "nncf"]),
        ("onnx", ["onnxruntime", "tf2onnx"]),
        ("litert", ["ai_edge_litert"]),
    ],
)
def test_int8_is_near_and_the_record_says_how_near(
    runtime, modules, photos, tmp_path, monkeypatch, capfd
):
    for module in modules:
        pytest.importorskip(module)
    monkeypatch.setenv("DOLG_ZOO_CACHE", str(tmp_path / "cache"))
    model = small_model()
    fast = model.compile_for_inference(runtime, "int8", calibration=sorted(photos.glob("**/*.png")))
    assert capfd.readouterr().out == ""
    exact, found = model.embed(photos, runtime="keras"), fast.embed(photos)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    cosine = (exact * found).sum(axis=1)
    assert cosine.min() > 0.9 and not np.array_equal(exact, found)
    assert fast.record["cosine_to_float32"]["lowest"] == pytest.approx(cosine.min(), abs=1e-4)
    assert fast.model_id != model.model_id


def test_bfloat16_names_what_the_processor_lacks(monkeypatch):
    pytest.importorskip("openvino")
    monkeypatch.setattr(registry, "has_bfloat16", lambda: False)
    with pytest.raises(RuntimeMissingError, match="neither avx512_bf16 nor amx_bf16"):
        small_model().compile_for_inference("openvino", "bfloat16")


@pytest.mark.parametrize(
    ("precision", "able", "hint"),
    [
        ("float32", True, "f32"),
        ("bfloat16", True, "bf16"),
        ("int8", True, "bf16"),
        ("int8", False, "f32"),
    ],
)
def test_openvino_computes_the_rest_of_an_int8_network_in_bfloat16_where_it_can(
    precision, able, hint, monkeypatch, tmp_path
):
    openvino = pytest.importorskip("openvino")
    from dolg_zoo.runtimes import openvino_runtime

    told = []
    monkeypatch.setattr(openvino_runtime, "has_bfloat16", lambda: able)
    monkeypatch.setattr(
        openvino.Core, "compile_model", lambda core, file, device, options: told.append(options)
    )
    openvino_runtime.load(tmp_path, precision, threads=1)
    assert told[0]["INFERENCE_PRECISION_HINT"] == getattr(openvino.Type, hint)


@pytest.mark.slow
def test_the_sums_of_residual_blocks_are_computed_in_int8(monkeypatch, tmp_path, rng):
    openvino = pytest.importorskip("openvino")
    pytest.importorskip("nncf")
    monkeypatch.setenv("DOLG_ZOO_CACHE", str(tmp_path))
    images = keras.Input((64, 64, 3))
    x = keras.layers.Conv2D(8, 3, strides=4, padding="same", activation="relu")(images)
    for _ in range(3):
        y = keras.layers.Conv2D(8, 3, padding="same", activation="relu")(x)
        x = keras.layers.Add()([x, keras.layers.Conv2D(8, 3, padding="same")(y)])
    top = keras.layers.Conv2D(8, 3, strides=2, padding="same", activation="relu")(x)
    config = dolg_zoo.DOLGConfig(hidden_dim=8, descriptor_dim=6, dilation_rates=())
    net = dolg_zoo.DOLGNet(keras.Model(images, [x, top]), config=config)
    model = dolg_zoo.DOLG(net, dolg_zoo.ImageConverter(size=64, mode="squash"))
    model.compile_for_inference(
        "openvino", "int8", calibration=[*rng.integers(0, 256, (4, 64, 64, 3), np.uint8)]
    )
    (file,) = tmp_path.glob("compiled/*/openvino-int8/model.xml")

    def has_quantized_input(node):
        given = [each.get_source_output().get_node() for each in node.inputs()]
        return any(each.get_type_name() == "FakeQuantize" for each in given)

    kinds = [
        n.get_type_name()
        for n in openvino.Core().read_model(file).get_ops()
        if has_quantized_input(n)
    ]
    assert kinds.count("Add") >= 2  # of three; the first may keep its convolution's float32
    assert not {"MatMul", "Power", "Divide", "Subtract", "ReduceSum"} & {*kinds}
