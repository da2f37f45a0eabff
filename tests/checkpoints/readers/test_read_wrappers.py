"""Where the state dict is in a checkpoint, and what its names lose."""

import argparse
import datetime
import pickle
import re
from collections import defaultdict
from fractions import Fraction
from functools import partial
from pathlib import PurePosixPath

import numpy as np
import pytest


@pytest.fixture
def one(handmade):
    return handmade.tensor(handmade.storage("0"))


@pytest.fixture
def names(read, handmade):
    """The names that come of a checkpoint with the given pickle values."""
    return lambda items: list(read(handmade.torch_zip(handmade.mapping(items))))


@pytest.mark.parametrize("wrapper", ["model_state", "model_state_dict", "state_dict", "model"])
def test_the_model_is_found_beside_other_things(names, handmade, one, wrapper):
    inner = handmade.mapping({"b": one, "a": one})
    assert names({"epoch": b"K\x03", "ema": one, wrapper: inner}) == ["b", "a"]


@pytest.mark.parametrize("other", ["state_dict_ema", "model_ema", "ema"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_which_of_several_state_dicts_is_taken_is_said(names, handmade, one, caplog, other, prefix):
    whole = {
        other: handmade.mapping({f"{prefix}a": one, f"{prefix}b": one}),
        "state_dict": handmade.mapping({"a": one}),
    }
    assert names(whole) == ["a"]
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert f"'state_dict' is taken, and not '{other}'" in record.getMessage()


def test_nothing_is_said_of_other_tensors_beside_the_one_state_dict(names, handmade, one, caplog):
    scores = handmade.mapping({"best_score": one})
    assert names({"state_dict": handmade.mapping({"a": one}), "callbacks": scores}) == ["a"]
    assert not caplog.records


@pytest.mark.parametrize("value", [b"N", b"}"])
def test_the_extra_state_of_a_module_is_dropped(names, handmade, one, value):
    inner = {"module.a": one, "module.head._extra_state": value, "_extra_state": value}
    assert names({"state_dict": handmade.mapping(inner)}) == ["a"]
    assert names(inner) == ["a"]


@pytest.mark.parametrize(
    "given, expected",
    [
        (["n_averaged", "module.a", "module.b"], ["a", "b"]),
        (["module.a", "module.b", "n_averaged"], ["a", "b"]),
        (["_orig_mod.n_averaged", "_orig_mod.module._orig_mod.a"], ["a"]),
        (["n_averaged", "module.module.model.a"], ["a"]),
        (["n_averaged", "a"], ["n_averaged", "a"]),
        (["n_averaged"], ["n_averaged"]),
    ],
)
def test_the_count_of_an_averaged_model_is_dropped(names, handmade, one, given, expected):
    assert names(dict.fromkeys(given, one)) == expected
    inner = handmade.mapping(dict.fromkeys(given, one))
    assert names({"model_state_dict": inner}) == expected


def test_a_wrapper_without_tensors_is_passed_by(names, handmade, one):
    inner = handmade.mapping({"a": one})
    assert names({"state_dict": b"}", "model": inner}) == ["a"]


def test_a_tensor_may_be_called_model(names, one):
    assert names({"model": one, "state_dict": one}) == ["model", "state_dict"]


@pytest.mark.parametrize(
    "given, expected",
    [
        (["module.a", "module.b"], ["a", "b"]),
        (["module._orig_mod.model.a.b"], ["a.b"]),
        (["model.module.model.a", "model.module.model.b"], ["a", "b"]),
        (["module.a", "b"], ["module.a", "b"]),
        (["module.model.a", "module.b"], ["model.a", "b"]),
        (["modules.a"], ["modules.a"]),
        (["module."], ["module."]),
        (["module.", "module.a"], ["module.", "module.a"]),
        (["backbone.module.a"], ["backbone.module.a"]),
    ],
)
def test_prefixes_that_all_names_have_are_dropped(names, one, given, expected):
    assert names(dict.fromkeys(given, one)) == expected


def test_an_unknown_wrapper_becomes_a_prefix(names, handmade, one):
    inner = handmade.mapping({"a": one, "b.c": one})
    assert names({"epoch": b"K\x05", "net": inner}) == ["net.a", "net.b.c"]
    assert names({"student": inner, "ema": handmade.mapping({"a": one})})[-1] == "ema.a"


def test_a_file_without_tensors_names_what_it_holds(refusal, handmade):
    data = handmade.mapping({"epoch": b"K\x05", "net": b"}"})
    assert "under model_state, model_state_dict, state_dict, model, but 'epoch', 'net'" in refusal(
        handmade.torch_zip(data)
    )


@pytest.mark.parametrize("extra", ["_metadata", "StructuredToParameterName@@"])
def test_notes_of_the_frameworks_are_dropped(names, one, extra):
    assert names({"a": one, extra: b"}"}) == ["a"]


@pytest.mark.parametrize(
    "value, shown", [(b"N", "None"), (b"]", "a list"), (b"K\x05", "5"), (b"}", "a dict")]
)
def test_an_entry_that_is_no_tensor_is_named(refusal, handmade, one, value, shown):
    inner = handmade.mapping({"a": one, "bn.extra": value})
    data = handmade.torch_zip(handmade.mapping({"state_dict": inner}))
    assert f"{shown} instead of a tensor under 'bn.extra'" in refusal(data)


class Settings:
    """A class of the file's author."""

    def __init__(self):
        self.rate = 0.1


class Named(dict):
    pass


class Numbers(list):
    pass


BESIDE = {
    "NumPy scalar": np.float64(0.5),
    "NumPy array": np.arange(3),
    "namespace": argparse.Namespace(lr=0.1, path=PurePosixPath("a")),
    "defaultdict": defaultdict(list, a=[1]),
    "path": PurePosixPath("runs/1"),
    "class": Settings,
    "instance": Settings(),
    "subclass of dict": Named(a=1),
    "subclass of list": Numbers([1, 2]),
    "enum": re.IGNORECASE,
    "date": datetime.date(2024, 5, 6),
    "function": partial(print, 1),
    "fraction": Fraction(1, 3),
}


@pytest.mark.parametrize("format", ["zip", "stream"])
@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("value", BESIDE.values(), ids=BESIDE)
def test_what_lies_beside_the_weights_does_not_lose_them(
    read, handmade, one, value, protocol, format
):
    begin = {2: 2, 4: 11}[protocol]  # the protocol and, in 4, the size of the frame
    other = pickle.dumps({"deep": [value, {"x": (value,)}]}, protocol)[begin:-1]
    whole = handmade.mapping({"args": other, "state_dict": handmade.mapping({"a": one})})
    pack = {"zip": handmade.torch_zip, "stream": handmade.torch_stream}[format]
    found = read(pack(whole))
    np.testing.assert_array_equal(found["a"], handmade.FLOATS.reshape(2, 3))
    assert list(found) == ["a"]


@pytest.mark.parametrize("protocol", [2, 4])
def test_what_lies_beside_the_weights_of_paddle_does_not_lose_them(read, handmade, protocol):
    whole = {"state_dict": {"a": handmade.FLOATS}, "lr": np.float64(0.5), "args": Settings()}
    np.testing.assert_array_equal(read(handmade.paddle(whole, protocol))["a"], handmade.FLOATS)


def test_a_command_beside_the_weights_is_not_run(read, handmade, one, tmp_path):
    marker = tmp_path / "marker"
    command = handmade.call(handmade.name("os", "system"), handmade.text(f"touch {marker}"))
    made = handmade.name("subprocess", "Popen") + handmade.row(handmade.text("x")) + b"\x81"
    filled = made + b"}" + handmade.text("a") + command + b"sb"
    whole = {"x": command, "y": filled, "state_dict": handmade.mapping({"a": one})}
    assert list(read(handmade.torch_zip(handmade.mapping(whole)))) == ["a"]
    assert not marker.exists()


@pytest.mark.parametrize("where", ["value", "wrapper", "parameter", "storage"])
def test_what_cannot_be_known_without_running_it_is_refused_among_the_weights(
    refusal, handmade, one, where
):
    made = handmade.call(handmade.name("os", "system"), handmade.text("x"))
    inner = {
        "value": handmade.mapping({"a": one, "b": made}),
        "wrapper": made,
        "parameter": handmade.mapping({"a": one, "b": handmade.name("os", "system")}),
        "storage": handmade.mapping(
            {"a": handmade.tensor(handmade.storage("0", "system", module="os"))}
        ),
    }
    whole = handmade.mapping({"epoch": b"K\x03", "state_dict": inner[where]})
    message = refusal(handmade.torch_zip(whole))
    assert "os.system" in message and "Nothing was run" in message


def test_a_checkpoint_has_65536_tensors_at_most(refusal, handmade, one):
    items = {"0": one + b"q\x09"} | {str(i): b"h\x09" for i in range(1, 65_537)}
    assert "65,537 tensors" in refusal(handmade.torch_zip(handmade.mapping(items)))


def test_names_are_texts(refusal, handmade, one):
    assert "under 5" in refusal(handmade.torch_zip(b"}K\x05" + one + b"s"))


def test_a_storage_that_is_a_part_of_another_is_refused(refusal, handmade):
    """Only PyTorch's first versions wrote such files."""
    view = handmade.row(handmade.text("9"), handmade.number(2), handmade.number(3))
    tensor = handmade.tensor(handmade.storage("0", view=view), 1, (2,), (1,))
    message = refusal(handmade.torch_stream(handmade.mapping({"x": tensor})))
    assert "as a part of another, as PyTorch's first versions" in message
