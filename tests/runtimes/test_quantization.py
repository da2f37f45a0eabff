import numpy as np
import pytest
from writable_hub import small_model

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
    monkeypatch.setattr(registry, "_has_bfloat16", lambda: False)
    with pytest.raises(RuntimeMissingError, match="neither avx512_bf16 nor amx_bf16"):
        small_model().compile_for_inference("openvino", "bfloat16")
