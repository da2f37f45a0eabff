"""An embedded preset explains without TensorFlow what Keras explains."""

import numpy as np
import pytest
from bounds import DEEP_DESCRIPTOR

from dolg_zoo.cli.model import load_explainer
from dolg_zoo.errors import WeightsError
from dolg_zoo.explaining.without_keras import FORM, LiteRTExplainer
from dolg_zoo.presets import DEFAULT_PRESET, resolve_preset
from dolg_zoo.runtimes import templates
from dolg_zoo.weights import load_manifest

EMBEDDED = [name for name, entry in load_manifest().presets.items() if entry.source is None]


@pytest.fixture
def explainer(monkeypatch):
    pytest.importorskip("ai_edge_litert")
    monkeypatch.delenv("DOLG_ZOO_RUNTIME")
    found = load_explainer(None)
    assert isinstance(found, LiteRTExplainer)
    return found


def test_it_explains_a_pair_as_keras_does(explainer, embedded_model, photos):
    pair = photos / "rocket.png", photos / "far" / "chelsea.png"
    for scale in (1.0, 0.5):
        found = explainer.explain(*pair, scale=scale)
        expected = embedded_model.explain(*pair, scale=scale)
        assert found.model == expected.model == DEFAULT_PRESET
        assert found.score == pytest.approx(expected.score, abs=DEEP_DESCRIPTOR)
        for ours, theirs in zip(found.sides, expected.sides, strict=True):
            assert ours.name == theirs.name
            assert ours.global_part == pytest.approx(theirs.global_part, abs=DEEP_DESCRIPTOR)
            np.testing.assert_allclose(ours.places, theirs.places, atol=DEEP_DESCRIPTOR)
            assert np.allclose(ours.attention, theirs.attention, rtol=1e-3)


@pytest.mark.parametrize("name", EMBEDDED)
def test_the_parts_of_each_embedded_preset_sum_to_its_descriptors(name, photos):
    pytest.importorskip("ai_edge_litert")
    from dolg_zoo import CompiledDOLG

    explained = LiteRTExplainer.of_embedded(resolve_preset(name)).explain(
        photos / "rocket.png", photos / "coffee.png"
    )
    compiled = CompiledDOLG.cached(name, "litert")
    one, other = compiled.embed([photos / "rocket.png", photos / "coffee.png"])
    assert explained.score == pytest.approx(float(one @ other), abs=DEEP_DESCRIPTOR)


def test_another_runtime_or_none_leaves_it_to_keras(monkeypatch):
    loaded = []
    monkeypatch.setattr("dolg_zoo.cli.model.load_model", loaded.append)
    load_explainer(None)  # the tests name Keras as the runtime
    monkeypatch.delenv("DOLG_ZOO_RUNTIME")
    monkeypatch.setattr("dolg_zoo.runtimes.registry.fault_of", lambda name: "it is not installed")
    load_explainer(None)
    assert loaded == [None, None]


def test_of_a_preset_that_does_not_ship_there_is_none(tmp_path):
    from dolg_zoo.presets.origins import ResolvedPreset

    assert LiteRTExplainer.of_embedded(ResolvedPreset(f"./{DEFAULT_PRESET}", tmp_path)) is None


def test_a_template_that_was_changed_is_not_used(explainer, monkeypatch, tmp_path):
    shipped = resolve_preset().folder / f"{FORM}.npz"
    folder = tmp_path / DEFAULT_PRESET
    folder.mkdir()
    (folder / shipped.name).write_bytes(shipped.read_bytes()[:-1] + b"x")
    monkeypatch.setattr(templates, "EMBEDDED", tmp_path)
    with pytest.raises(WeightsError, match=r"maps-litert-float32\.npz.*sha256.*reinstall"):
        load_explainer(None)
