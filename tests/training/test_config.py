import pytest

from dolg_zoo.training.config import HEADS, TrainingConfig, TrainingConfigError

LEAST = {"data": {"folder": "photos"}, "model": {"preset": "p"}}


def config(**tables):
    return TrainingConfig.from_dict({**LEAST, **tables})


def test_a_file_says_all_of_a_run(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text(
        '[data]\nfolder = "photos"\n[model]\narchitecture = "resnet50"\n'
        "settings = {descriptor_dim = 256}\n[optimizer]\nlearning_rate = 1\n"
        "[augmentation]\narea = [0.5, 1.0]\n[run]\nepochs = 3\n"
    )
    found = TrainingConfig.from_toml(path)
    assert found.data == {"folder": "photos"}
    assert (found.model.architecture, found.model.settings) == ("resnet50", {"descriptor_dim": 256})
    assert found.optimizer.learning_rate == 1.0
    assert found.augmentation.area == (0.5, 1.0)
    assert found.run.epochs == 3


def test_what_it_resolves_to_is_read_back_as_the_same():
    first = config(head={"name": "arcface", "settings": {"margin": 0.3}})
    assert TrainingConfig.from_dict(first.to_dict()) == first


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"rum": {}}, "unknown table 'rum'; there are data, model"),
        ({"run": {"epoch": 3}}, r"\[run\] has an unknown key 'epoch'; there are epochs"),
        ({"run": {"epochs": "3"}}, r"\[run\] epochs must be of type int, got '3'"),
        ({"run": {"epochs": True}}, r"\[run\] epochs must be of type int, got True"),
        ({"run": {"epochs": 0}}, r"\[run\] epochs must be a whole number of at least 1, got 0"),
        ({"run": 3}, r"\[run\] must be a table, got 3"),
        ({"run": {"precision": "float64"}}, "mixed_bfloat16.*'float64'"),
        ({"run": {"epochs": 2, "freeze_backbone_epochs": 2}}, "must be fewer than epochs"),
        (
            {"optimizer": {"learning_rate": 0}},
            r"learning_rate must be a number greater than 0, got 0\.0",
        ),
        ({"optimizer": {"learning_rate": float("nan")}}, "learning_rate must be .*got nan"),
        ({"optimizer": {"weight_decay": float("inf")}}, "weight_decay must be .*got inf"),
        ({"optimizer": {"ema": 1.5}}, "ema must be a number from 0 to 1, got 1.5"),
        ({"optimizer": {"average_with_start": 1}}, "average_with_start must be below 1"),
        ({"optimizer": {"head_rate": -1}}, "head_rate must be a number of at least 0"),
        ({"optimizer": {"local_rate": -1}}, "local_rate must be a number of at least 0"),
        ({"head": {"label_smoothing": 1.0}}, "label_smoothing must be below 1"),
        ({"run": {"images_per_class": 2}}, "images_per_class needs balanced = true"),
        (
            {"run": {"images_per_class": 3, "balanced": True}},
            "batch_size = 32 must be a multiple of images_per_class, 3",
        ),
        ({"head": {"name": "sphereface"}}, "subcenter_arcface.*'sphereface'"),
        ({"head": {"name": "arcface", "dynamic_margins": True}}, "dynamic_margins needs"),
        ({"split": {"share": 1}}, r"share must be .*excluded, got 1\.0"),
        ({"augmentation": {"area": [0.5]}}, r"area must be two shares.*\(0\.5,\)"),
        ({"augmentation": {"area": [0.5, "x"]}}, "area must be two shares"),
        ({"split": {"on": "others", "share": 0.5}}, r"\[split\] on = 'others' names the images"),
        ({"optimizer": {"average_with_start": [0, 1]}}, "average_with_start must be below 1"),
        ({"model": {"preset": "p", "architecture": "resnet50"}}, "either preset or architecture"),
        ({"data": 3}, r"A table \[data\] is missing"),
    ],
)
def test_a_wrong_setting_is_named(tables, message):
    with pytest.raises(TrainingConfigError, match=message):
        config(**tables)


def test_a_file_that_is_no_toml_is_named(tmp_path):
    path = tmp_path / "run.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(TrainingConfigError, match=r"run\.toml is no TOML file"):
        TrainingConfig.from_toml(path)


def test_the_heads_that_a_configuration_may_name_are_those_of_the_layers():
    from dolg_zoo.layers import MARGIN_HEADS

    assert sorted(MARGIN_HEADS) == sorted(HEADS)
