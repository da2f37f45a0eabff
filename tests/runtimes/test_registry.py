import pytest

from dolg_zoo._util.modules import is_installed
from dolg_zoo.runtimes import (
    RuntimeMissingError,
    check_route,
    choice,
    default_runtime,
    fault_of,
    registry,
    routes,
)


@pytest.fixture(autouse=True)
def nothing_said_nor_measured(monkeypatch, tmp_path):
    monkeypatch.delenv("DOLG_ZOO_RUNTIME", raising=False)
    monkeypatch.setenv("DOLG_ZOO_CACHE", str(tmp_path))
    monkeypatch.setattr(choice, "has_gpu", lambda: False)


@pytest.fixture
def without(monkeypatch):
    def hide(*modules):
        monkeypatch.setattr(
            registry, "is_installed", lambda name: name not in modules and is_installed(name)
        )

    return hide


@pytest.mark.parametrize(
    ("precision", "hidden", "expected"),
    [
        ("float32", [], "litert"),
        ("float32", ["ai_edge_litert"], "openvino"),
        ("float32", ["ai_edge_litert", "openvino"], "onnx"),
        ("int8", [], "openvino"),
        ("int8", ["nncf"], "onnx"),
    ],
)
def test_the_first_of_the_order_that_is_installed_is_the_default(
    without, precision, hidden, expected
):
    for module in ("openvino", "nncf", "onnxruntime", "tf2onnx", "ai_edge_litert"):
        pytest.importorskip(module)
    without(*hidden)
    assert default_runtime(precision) == expected


def test_keras_is_what_there_always_is(without):
    without("openvino", "onnxruntime", "ai_edge_litert")
    assert default_runtime() == "keras"


def test_beside_a_gpu_keras_computes(monkeypatch):
    monkeypatch.setattr(choice, "has_gpu", lambda: True)
    assert default_runtime() == "keras"


def test_the_environment_names_another(monkeypatch):
    monkeypatch.setenv("DOLG_ZOO_RUNTIME", "onnx")
    assert default_runtime() == "onnx"


def test_the_environment_may_not_name_what_there_is_not(monkeypatch):
    monkeypatch.setenv("DOLG_ZOO_RUNTIME", "cuda")
    with pytest.raises(ValueError, match=r"DOLG_ZOO_RUNTIME must be one of .* not 'cuda'"):
        default_runtime()


def test_what_is_not_installed_is_named_with_its_extra(without):
    without("openvino")
    with pytest.raises(RuntimeMissingError, match=r"pip install 'dolg-zoo\[openvino\]'"):
        check_route("openvino")


def test_a_converter_that_is_missing_counts(without):
    pytest.importorskip("onnxruntime")
    without("tf2onnx")
    assert "tf2onnx is not installed" in fault_of("onnx")


def test_a_precision_that_a_runtime_has_not_is_named_with_who_has():
    with pytest.raises(RuntimeMissingError, match="int8; openvino or onnx or litert would"):
        check_route("keras", "int8")


def test_a_processor_without_bfloat16_is_told_what_it_lacks(monkeypatch):
    pytest.importorskip("openvino")
    monkeypatch.setattr(registry, "has_bfloat16", lambda: False)
    with pytest.raises(RuntimeMissingError, match="neither avx512_bf16 nor"):
        check_route("openvino", "bfloat16")


def test_nothing_for_a_precision_says_what_to_install(without):
    without("openvino", "onnxruntime", "ai_edge_litert")
    with pytest.raises(
        RuntimeMissingError, match=r"computes in int8: .*dolg-zoo\[onnx\].* ai-edge-litert"
    ):
        default_runtime("int8")


@pytest.mark.parametrize("route", [("cuda", "float32"), ("keras", "float64")])
def test_unknown_names_are_refused_with_the_known(route):
    with pytest.raises(ValueError, match="must be one of"):
        check_route(*route)


def test_the_default_is_followed_by_those_to_fall_back_to(without, monkeypatch):
    for module in ("openvino", "ai_edge_litert"):
        pytest.importorskip(module)
    without("onnxruntime", "onnx")
    assert routes() == ["litert", "openvino", "keras"]
    assert routes("openvino") == ["openvino"]
    monkeypatch.setenv("DOLG_ZOO_RUNTIME", "openvino")
    assert routes() == ["openvino"]
