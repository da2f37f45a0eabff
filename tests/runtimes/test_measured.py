import json

import pytest
from small_model import small_model

from dolg_zoo.errors import CompilationError
from dolg_zoo.runtimes import choice, default_runtime, fault_of, measured, registry

MODEL = "0123456789abcdef" * 2


@pytest.fixture(autouse=True)
def here(monkeypatch, tmp_path):
    """A machine without a GPU, with a cache of its own."""
    monkeypatch.delenv("DOLG_ZOO_RUNTIME", raising=False)
    monkeypatch.setenv("DOLG_ZOO_CACHE", str(tmp_path))
    monkeypatch.setattr(choice, "has_gpu", lambda: False)
    return tmp_path / "compiled" / MODEL / "speeds.json"


@pytest.fixture
def timed(monkeypatch):
    """Runtimes that take the seconds that they are said to take."""

    def take(seconds):
        class Compiled:
            def __init__(self, name):
                if seconds[name] is None:
                    raise CompilationError("it has a layer too many")
                self.infer = lambda images: name

        class Model:
            input_shape = (None, 32, 48, 3)
            model_id = MODEL
            compile_for_inference = staticmethod(Compiled)

        monkeypatch.setattr(measured, "fault_of", lambda name: name not in seconds or None)
        monkeypatch.setattr(
            measured, "_seconds", lambda infer, images, turn: seconds[infer(images)]
        )
        return measured.measure_runtimes(Model(), take.said.append)

    take.said = []
    return take


def test_the_fastest_is_the_default_from_then_on(timed):
    first = default_runtime()
    other = "keras" if first != "keras" else None
    if other is None:
        pytest.skip("needs a runtime besides Keras")
    assert timed({first: 0.5, other: 0.25}) == {other: 32.0, first: 16.0}  # 8 images
    assert default_runtime(model_id=MODEL) == other
    assert "fastest here when timed, 32 images a second" in choice.why_default(model_id=MODEL)[1]
    assert default_runtime(model_id="0" * 32) == default_runtime() == first


def test_what_cannot_compile_the_model_is_said_and_left_out(timed):
    assert list(timed({"openvino": None, "keras": 1.0})) == ["keras"]
    assert any("openvino cannot compute this model: it has a layer" in line for line in timed.said)


@pytest.mark.parametrize("what", ["processor", "litert", "cores"])
def test_another_processor_or_version_is_measured_anew(timed, here, what):
    timed({"keras": 1.0})
    assert measured.remembered_speeds(MODEL) == {"keras": 8.0}
    kept = json.loads(here.read_text())
    kept["made_by"][what] = "another"
    here.write_text(json.dumps(kept))
    assert measured.remembered_speeds(MODEL) == {}


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"made_by": 1}', '{"speeds": {"cuda": 1}}', "\udcff"]
)
def test_a_damaged_file_is_not_believed(timed, here, text):
    timed({"keras": 1.0})
    made_by = json.loads(here.read_text())["made_by"]
    if "speeds" in text:
        text = json.dumps({"made_by": made_by, **json.loads(text)})
    here.write_text(text, errors="surrogateescape")
    assert measured.remembered_speeds(MODEL) == {}


def test_without_a_cache_nothing_is_remembered(timed, monkeypatch):
    monkeypatch.setattr(measured, "cache_folder", lambda *parts: None)
    assert timed({"keras": 1.0}) == {"keras": 8.0} and measured.remembered_speeds(MODEL) == {}


def test_every_runtime_that_is_here_is_really_timed():
    model = small_model(preset="small")
    speeds = measured.measure_runtimes(model, turns=1, turn=0.01)
    assert speeds.keys() == {name for name in registry.RUNTIMES if fault_of(name) is None}
    assert list(speeds.values()) == sorted(speeds.values(), reverse=True)
    assert measured.remembered_speeds(model.model_id) == speeds
