"""Whole runs on a few small photographs."""

import importlib
import json
import shutil
import signal
from pathlib import Path

import keras
import numpy as np
import pytest
from small_run import CLASSES, NEW, config, largest_difference, start_training, weights_of

import dolg_zoo
from dolg_zoo import DOLG
from dolg_zoo.training import (
    DataError,
    DivergedError,
    TrainingConfigError,
    plan,
    train,
)
from dolg_zoo.training.checkpoint import CheckpointFolder
from dolg_zoo.training.data import load_split
from dolg_zoo.training.setup import Run
from dolg_zoo.training.validation import Scores

ALL = {
    "metadata": {"license": "CC-BY-4.0", "description": "Finds colours."},
    "run": {"tensorboard": True},
}


@pytest.fixture(scope="module")
def unbroken(folder, tmp_path_factory):
    """A run to its end, with all that it can write, and what it said."""
    said = []
    output = tmp_path_factory.mktemp("unbroken")
    result = train(config(folder, **ALL), output, relative_to=folder, say=said.append)
    return result, said


def test_a_row_an_epoch_is_kept_beginning_with_the_model_before_training(unbroken):
    result, said = unbroken
    assert [row["epoch"] for row in result.history] == [0, 1, 2]
    assert set(result.history[0]) == {"epoch", "map", "recall_at_1"}
    assert {"loss", "accuracy", "learning_rate", "minutes", "map"} <= set(result.history[2])
    assert (result.preset.parent / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads((result.preset.parent / "history.json").read_text())["history"] == (
        result.history
    )
    assert said[0].startswith("epoch 0  mAP ") and " %  recall@1 " in said[0]


def test_the_preset_is_of_the_best_epoch_and_gives_the_descriptors_of_its_row(unbroken, folder):
    result, _ = unbroken
    best = max(result.history, key=lambda row: row["map"])
    assert result.best_epoch == best["epoch"]
    head = dolg_zoo.DOLG.from_preset(result.preset).load_margin_head()
    kept_back = {f"place{i}" for i in range(CLASSES)} - set(trained_on(result, folder))
    paths = [p for name in sorted(kept_back) for p in sorted((folder / "photos" / name).iterdir())]
    assert head.num_classes == CLASSES - len(kept_back)
    descriptors = dolg_zoo.DOLG.from_preset(result.preset).embed(paths)
    scores = dolg_zoo.evaluation.leave_one_out(descriptors, [p.parent.name for p in paths])
    assert scores.map == pytest.approx(best["map"], abs=1e-6)


def trained_on(result, folder):
    return load_split(config(folder), folder)[0].class_names


def test_the_preset_says_what_it_was_trained_on_and_how_well_it_does(unbroken):
    metadata = dolg_zoo.DOLG.from_preset(unbroken[0].preset).metadata
    assert metadata["dataset"] == "photos (18 images of 3 classes)"
    assert metadata["provenance"].startswith("tiny, trained with dolg-zoo")
    result, said = unbroken
    (figure,) = metadata["figures"]
    assert figure["value"] == round(result.history[result.best_epoch]["map"], 2)
    assert figure["dataset"].startswith("12 images of 2 classes that were not trained on")
    assert metadata["figures_note"] == said[-1] == str(result.verdict)


def test_it_may_be_published_as_it_is_once_it_has_a_licence(unbroken):
    metadata = dolg_zoo.publishing.metadata.merged_metadata(
        dolg_zoo.DOLG.from_preset(unbroken[0].preset).metadata, None
    )
    assert metadata["description"] == "Finds colours."


def test_the_same_run_gives_the_same_weights(unbroken, folder, tmp_path):
    again = train(config(folder), tmp_path, relative_to=folder, say=lambda _: None)  # not ALL
    assert largest_difference(unbroken[0].preset, again.preset) == 0


def test_the_preset_is_the_average_of_the_start_and_the_end_that_validates_best(
    folder, tmp_path, monkeypatch
):
    """Without validation it is the share nearest to one half; else the first that gains enough."""
    changes = {
        "split": {"by": "none"},
        "head": {"label_smoothing": 0.1},
        "run": {"epochs": 1, "balanced": True, "images_per_class": 2},
    }
    trained = {}
    for shares in (0.0, [0.9, 0.0, 0.25]):
        changes["optimizer"] = {"average_with_start": shares, "head_rate": 10.0}
        result = train(
            config(folder, **changes),
            tmp_path / str(shares),
            relative_to=folder,
            say=lambda _: None,
        )
        trained[str(shares)] = weights_of(result.preset)
    assert_average(folder, trained["0.0"], trained["[0.9, 0.0, 0.25]"], 0.25)
    assert max(map(np.ptp, trained["0.0"])) > 1e-3

    for place in (folder / "photos").iterdir():
        shutil.copytree(place, tmp_path / "others" / f"other {place.name}")
    changes["split"] = {"by": None, "share": None, "on": str(tmp_path / "others")}
    # the start, the default preset, and the shares by their distance from one half
    answer_with(monkeypatch, 0.5, 0.4, 0.55, 0.75, 0.9)
    result = train(config(folder, **changes), tmp_path / "on", relative_to=folder, say=lambda _: 0)
    assert result.history[1]["share_of_start"] == 0.9  # it has more than 60 % of the gain
    assert_average(folder, trained["0.0"], weights_of(result.preset), 0.9)


def assert_average(folder, end, mean, share):
    for first, last, average in zip(weights_of(folder / "tiny"), end, mean, strict=True):
        np.testing.assert_allclose(average, share * first + (1 - share) * last, atol=1e-6)


def answer_with(monkeypatch, *maps):
    """Let validation find these mAP in turn, in each of two classes of six images."""
    module, left = importlib.import_module("dolg_zoo.training.run"), iter(maps)

    def validate(model, examples, runtime=None):
        value = next(left)
        return Scores(value, 0.0, [(6, 6 * value)] * 2, {})

    monkeypatch.setattr(module, "validate", validate)


# Runs that are broken off


@pytest.mark.slow
def test_killed_twice_it_ends_with_the_weights_of_an_unbroken_run(folder, tmp_path):
    changes = {
        "run": {"checkpoint_minutes": 0, "balanced": True, "freeze_backbone_epochs": 1},
        "optimizer": {"name": "adamw", "ema": 0.9, "accumulate": 2},
    }
    whole = train(
        config(folder, **changes), tmp_path / "whole", relative_to=folder, say=lambda _: None
    )
    for step in (2, 6):
        process = start_training(folder, tmp_path / "broken", changes, kill_at=step)
        _, errors = process.communicate(timeout=300)
        assert process.returncode == -signal.SIGKILL, errors
    said = []
    broken = train(
        config(folder, **changes), tmp_path / "broken", relative_to=folder, say=said.append
    )
    assert said[0] == "Continuing from step 6, after 1.5 of 2 epochs."
    np.testing.assert_allclose(largest_difference(whole.preset, broken.preset), 0, atol=1e-6)
    for one, other in zip(whole.history, broken.history, strict=True):
        assert one["map"] == pytest.approx(other["map"], abs=1e-6)
        assert one.get("loss", 0) == pytest.approx(other.get("loss", 0), rel=1e-5)


def test_a_finished_run_is_not_run_again(unbroken, folder):
    result, _ = unbroken
    said = []
    again = train(config(folder, **ALL), result.preset.parent, relative_to=folder, say=said.append)
    assert said[0].startswith(f"The run in {str(result.preset.parent)!r} is finished")
    assert not any("Going on" in line for line in said)
    assert again.history == result.history


def test_a_finished_run_is_lengthened_by_more_epochs(folder, done_before):
    said = []
    more = ALL | {"run": {"tensorboard": True, "epochs": 3}}
    result = train(config(folder, **more), done_before, relative_to=folder, say=said.append)
    assert said[0] == "Continuing from step 8, after 2 of 3 epochs."
    assert [row["epoch"] for row in result.history] == [0, 1, 2, 3]


def test_a_checkpoint_of_other_settings_is_refused_by_those_that_differ(unbroken, folder):
    changed = ALL | {"run": {"tensorboard": True, "epochs": 1, "batch_size": 2}}
    with pytest.raises(TrainingConfigError) as refusal:
        train(config(folder, **changed), unbroken[0].preset.parent, relative_to=folder)
    told = "other settings: [run] batch_size was 4 and is 2; [run] epochs was 2 and is 1. Choose"
    assert told in str(refusal.value)


def test_an_interrupted_run_says_how_it_continues(folder, tmp_path):
    def stop(line):
        if line.startswith(stop.at):
            raise KeyboardInterrupt

    stop.at = "epoch 0"
    with pytest.raises(KeyboardInterrupt, match="no checkpoint yet: the same call starts again"):
        train(config(folder), tmp_path, relative_to=folder, say=stop)
    stop.at = "epoch 2"
    with pytest.raises(KeyboardInterrupt, match=r"The same call continues from .*step_000000004"):
        train(config(folder), tmp_path, relative_to=folder, say=stop)


def copy_without(folder, to, name, content=None):
    """The photographs but those of a name, or with those holding something else."""
    for path in sorted((folder / "photos").rglob("*.png")):
        target = to / "photos" / path.relative_to(folder / "photos")
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.match(name):
            if content is not None:
                target.write_bytes(content)
        else:
            target.write_bytes(path.read_bytes())
    return to


def test_a_checkpoint_of_other_images_is_refused(unbroken, folder, tmp_path):
    other = copy_without(folder, tmp_path, "0.png")
    with pytest.raises(TrainingConfigError, match=r"\[images\] training was .*'count': 18"):
        train(config(folder, **ALL), unbroken[0].preset.parent, relative_to=other)


@pytest.fixture
def done_before(unbroken, tmp_path):
    """A copy of what the unbroken run wrote."""
    return Path(shutil.copytree(unbroken[0].preset.parent, tmp_path / "done"))


def test_a_damaged_checkpoint_is_passed_over(unbroken, folder, done_before):
    newest = done_before / "checkpoints" / "step_000000008" / "state.weights.h5"
    newest.write_bytes(newest.read_bytes()[:-1])
    said = []
    again = train(config(folder, **ALL), done_before, relative_to=folder, say=said.append)
    assert said[0] == "Continuing from step 4, after 1 of 2 epochs."
    np.testing.assert_allclose(largest_difference(unbroken[0].preset, again.preset), 0, atol=1e-6)
    assert again.history[2]["loss"] == pytest.approx(unbroken[0].history[2]["loss"], rel=1e-5)


def test_if_no_checkpoint_is_whole_it_says_so(folder, done_before):
    for checkpoint in (done_before / "checkpoints").iterdir():
        (checkpoint / "state.json").write_text("{")
    with pytest.raises(TrainingConfigError, match="None of the 2 checkpoints"):
        train(config(folder, **ALL), done_before, relative_to=folder)


# Bad luck


def test_a_loss_that_is_no_number_ends_the_run_and_leaves_the_checkpoint(folder, tmp_path):
    wild = {"learning_rate": 1e30, "clip_norm": 0, "warmup_epochs": 1.25}
    with pytest.raises(DivergedError, match=r"by step \d+, at a learning rate of .*Lower"):
        train(config(folder, optimizer=wild, run={"epochs": 3}), tmp_path, relative_to=folder)
    for state in (tmp_path / "checkpoints").glob("step_*/state.json"):
        assert json.loads(state.read_text())["step"] < 8


def test_unreadable_images_are_counted_and_left_out(folder, tmp_path):
    copy = copy_without(folder, tmp_path / "copy", "3.png", b"no image")
    result = train(config(folder), tmp_path / "out", relative_to=copy, say=lambda _: None)
    assert {Path(name).name for name in result.skipped} == {"3.png"}
    assert len(result.skipped) == CLASSES


def test_a_full_disk_costs_the_checkpoint_but_not_the_run(folder, tmp_path, monkeypatch):
    save, calls = CheckpointFolder.save, []

    def full_at_first(self, step, progress):
        calls.append(step)
        if len(calls) == 1:
            raise OSError(28, "No space left on device")
        save(self, step, progress)

    monkeypatch.setattr(CheckpointFolder, "save", full_at_first)
    said = []
    result = train(config(folder), tmp_path, relative_to=folder, say=said.append)
    assert any("checkpoint of step 4 could not be written: [Errno 28]" in line for line in said)
    assert [p.name for p in (result.preset.parent / "checkpoints").iterdir()] == ["step_000000008"]


@pytest.mark.slow
def test_a_disk_full_to_the_end_is_an_error_that_names_the_last_good_checkpoint(
    folder, tmp_path, monkeypatch
):
    save = CheckpointFolder.save

    def full_at_last(self, step, progress):
        if step > 4:
            raise OSError(28, "No space left on device")
        save(self, step, progress)

    monkeypatch.setattr(CheckpointFolder, "save", full_at_last)
    with pytest.raises(OSError, match=r"No space left.*step_000000004"):
        train(config(folder), tmp_path, relative_to=folder, say=lambda _: None)


def test_images_of_which_none_can_be_read_are_an_error(folder, tmp_path):
    copy_without(folder, tmp_path, "*.png", b"no image")
    with pytest.raises(DataError, match="in a row cannot be read"):
        train(config(folder, split={"by": "none"}), tmp_path / "out", relative_to=tmp_path)


# Settings


@pytest.mark.slow
def test_without_validation_the_preset_is_of_the_last_epoch(folder, tmp_path):
    result = train(
        config(folder, split={"by": "none"}), tmp_path, relative_to=folder, say=lambda _: None
    )
    assert result.best_epoch == 2
    assert [row["epoch"] for row in result.history] == [1, 2]


def test_it_stops_early_if_validation_gets_no_better(folder, tmp_path, monkeypatch):
    answer_with(monkeypatch, 0.1, 0.2, 0.5, 0.4, 0.3, 0.9)
    said = []
    result = train(
        config(folder, run={"epochs": 9, "early_stop_epochs": 2}),
        tmp_path,
        relative_to=folder,
        say=said.append,
    )
    assert result.best_epoch == 1
    assert result.history[-1]["epoch"] == 3
    assert "No better mAP for 2 epochs: the run ends." in said


def test_a_start_that_no_epoch_makes_better_is_what_is_saved(folder, tmp_path, monkeypatch):
    said = []
    answer_with(monkeypatch, 0.9, 0.8, 0.5)
    result = train(config(folder, run={"epochs": 1}), tmp_path, relative_to=folder, say=said.append)
    assert result.best_epoch == 0
    assert largest_difference(folder / "tiny", result.preset) == 0
    assert said[-1].startswith("Training did not help, so the preset is the model before training")
    assert "mAP 90 % before and 50 % after (default preset 80 %), on 12 images of 2" in said[-1]
    metadata = DOLG.from_preset(result.preset).metadata
    assert (metadata["figures"][0]["value"], metadata["figures_note"]) == (0.9, said[-1])


def test_a_start_that_knows_the_classes_for_validation_is_warned_of(unbroken, folder, tmp_path):
    said = []
    train(
        config(
            folder,
            model={"preset": str(unbroken[0].preset)},
            split={"share": None, "on": str(folder / "photos")},
            run={"epochs": 1},
        ),
        tmp_path,
        relative_to=folder,
        say=said.append,
    )
    assert said[0].startswith("Warning: the model before training has learned 3 classes")


def test_a_model_fine_tunes_a_copy_of_itself(folder, tmp_path):
    model = DOLG.from_preset(folder / "tiny")
    before, said = model.get_weights(), []
    tuned = model.fine_tune(
        folder / "photos", tmp_path / "out", epochs=1, validate=0.4, say=said.append
    )
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    assert tuned.metadata["dataset"] == "photos (18 images of 3 classes)"
    assert said[-1].split(":")[0].startswith(("Training", "Whether training"))
    with pytest.raises(TrainingConfigError, match=r"\[split\] share was 0.4 and is 0.5"):
        model.fine_tune(folder / "photos", tmp_path / "out", epochs=1, validate=0.5)


def changed_by_steps(run, first, last):
    """Which parts of the model two steps change: backbone weights, its batch norms, the rest."""
    variables = run.classifier.weights
    before = [keras.ops.convert_to_numpy(variable) for variable in variables]
    for _ in run.loop.run(run.distributed(run.batches(first, last)), first, last):
        pass
    norms = {
        id(variable)
        for layer in run.model.net.backbone.layers
        if isinstance(layer, keras.layers.BatchNormalization)
        for variable in layer.weights
    }
    backbone = {id(variable) for variable in run.model.net.backbone.weights} - norms
    changed = set()
    for variable, value in zip(variables, before, strict=True):
        if np.any(keras.ops.convert_to_numpy(variable) != value):
            known = id(variable) in norms, id(variable) in backbone
            changed.add({(True, False): "batch norm", (False, True): "backbone"}.get(known, "head"))
    return changed


def test_a_frozen_backbone_stays_as_it_is_until_it_is_thawed(folder):
    run = Run(config(folder, run={"freeze_backbone_epochs": 1}), folder)
    run.thaw(0)
    assert changed_by_steps(run, 0, 4) == {"head"}
    run.thaw(1)
    assert changed_by_steps(run, 4, 8) == {"head", "backbone"}


@pytest.mark.slow
def test_batch_norms_of_the_backbone_are_trained_where_that_is_asked_for(folder):
    run = Run(config(folder, run={"backbone_batch_norm": "trained"}), folder)
    run.thaw(0)
    assert changed_by_steps(run, 0, 4) == {"head", "backbone", "batch norm"}


@pytest.mark.parametrize(
    "precision",
    [
        pytest.param("mixed_bfloat16", marks=pytest.mark.bfloat16),
        pytest.param("mixed_float16", marks=pytest.mark.slow),
    ],
)
def test_trained_in_mixed_precision_it_is_saved_in_float32(folder, tmp_path, precision):
    result = train(
        config(folder, run={"precision": precision, "epochs": 1}),
        tmp_path,
        relative_to=folder,
        say=lambda _: None,
    )
    model = dolg_zoo.DOLG.from_preset(result.preset)
    assert {layer.compute_dtype for layer in model.net.backbone.layers} == {"float32"}
    assert np.isfinite(result.history[1]["loss"])


def test_tensorboard_gets_each_epoch(unbroken):
    import tensorflow as tf

    folder = unbroken[0].preset.parent
    found = {}
    for file in (folder / "tensorboard").iterdir():
        for event in tf.compat.v1.train.summary_iterator(str(file)):
            for value in event.summary.value:
                found[event.step, value.tag] = float(tf.make_ndarray(value.tensor))
    history = json.loads((folder / "history.json").read_text())["history"]
    assert found[2, "map"] == pytest.approx(history[2]["map"])
    assert found[1, "loss"] == pytest.approx(history[1]["loss"])


def test_a_preset_is_trained_on_from_where_it_is(unbroken, folder, tmp_path):
    model = {"preset": str(unbroken[0].preset)}
    result = train(
        config(folder, model=model, run={"epochs": 1}),
        tmp_path,
        relative_to=folder,
        say=lambda _: None,
    )
    assert result.history[0]["map"] == pytest.approx(
        unbroken[0].history[unbroken[0].best_epoch]["map"], abs=1e-6
    )


def test_the_plan_tells_what_a_run_takes_and_writes_nothing(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    planned = plan(config(folder), relative_to=folder)
    assert (planned["images"], planned["validation_images"]) == (18, 12)
    assert (planned["epochs"], planned["steps"]) == (2, 8)
    assert planned["summary"].startswith(
        "18 images of 3 classes to train on, 12 of 2 to validate on: 2 epochs take about 1 minute"
    )
    assert planned["seconds_per_step"] > 0
    assert planned["memory_gib"] > 0
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model": NEW | {"settings": {"descriptor_dims": 8}}},
            r"\[model.settings\].*descriptor_dims",
        ),
        ({"head": {"settings": {"margins": 8}}}, r"\[head.settings\].*margins"),
        ({"model": NEW | {"architecture": "resnet51"}}, r"architecture must be one of"),
        ({"metadata": {"licence": "MIT"}}, r"\[metadata\].*licence"),
    ],
)
def test_settings_that_cannot_be_are_named(folder, tmp_path, changes, message):
    with pytest.raises(TrainingConfigError, match=message):
        train(config(folder, **changes), tmp_path, relative_to=folder)


def test_a_new_model_is_trained_and_prepares_images_as_it_was_told(folder, tmp_path):
    settings = {
        **{"descriptor_dim": 8, "hidden_dim": 8, "dilation_rates": [], "taps": ["P2", "P3"]},
        "image_converter": {"size": 48},
    }
    result = train(
        config(folder, model=NEW | {"settings": settings}, run={"epochs": 1}),
        tmp_path,
        relative_to=folder,
        say=lambda _: None,
    )
    model = DOLG.from_preset(result.preset)
    assert (model.descriptor_dim, model.image_converter.size) == (8, 48)
    assert model.metadata["provenance"].startswith("resnet18_v1 with random weights")
