import numpy as np
import pytest

from dolg_zoo.checkpoints.porting import PortingError
from dolg_zoo.checkpoints.porting.torch_layout import port

TARGETS = {"conv/kernel": (3, 3, 2, 4), "bn/gamma": (4,), "bn/beta": (4,)}
TARGETS |= {"bn/moving_mean": (4,), "bn/moving_variance": (4,)}


def state(rng):
    shapes = {"c.weight": (4, 2, 3, 3), "b.weight": (4,), "b.bias": (4,)}
    shapes |= {"b.running_mean": (4,), "b.running_var": (4,), "b.num_batches_tracked": ()}
    return {key: rng.standard_normal(shape) for key, shape in shapes.items()}


def port_small(tensors, targets=TARGETS, **kwargs):
    return port(tensors, targets, {"c": "conv", "b": "bn"}.get, **kwargs)


def test_lays_each_tensor_out_as_keras_does(rng):
    tensors = state(rng)
    ported = port_small(tensors)
    assert set(ported) == set(TARGETS)
    for out, inp, row, column in np.ndindex(4, 2, 3, 3):
        expected = tensors["c.weight"][out, inp, row, column]
        assert ported["conv/kernel"][row, column, inp, out] == expected
    assert np.array_equal(ported["bn/gamma"], tensors["b.weight"])
    assert np.array_equal(ported["bn/moving_variance"], tensors["b.running_var"])


def test_lays_a_depthwise_kernel_out_as_keras_does(rng):
    kernel = rng.standard_normal((6, 1, 3, 3))
    ported = port({"c.weight": kernel}, {"d/kernel": (3, 3, 6, 1)}, {"c": "d"}.get)
    assert np.array_equal(ported["d/kernel"][1, 2, :, 0], kernel[:, 0, 1, 2])


def test_names_a_tensor_that_has_no_variable(rng):
    with pytest.raises(PortingError, match=r"network does not have: x.weight \(3,\)"):
        port_small({**state(rng), "x.weight": np.ones(3)})


def test_a_name_of_the_file_cannot_steer_the_terminal(rng):
    with pytest.raises(PortingError, match=r"does not have: \\x1b\[2J\.weight \(3,\)"):
        port_small({**state(rng), "\x1b[2J.weight": np.ones(3)})


def test_names_a_variable_that_no_tensor_fills(rng):
    with pytest.raises(PortingError, match=r"does not fill: extra/bias \(2,\)"):
        port_small(state(rng), {**TARGETS, "extra/bias": (2,)})


def test_names_a_tensor_of_another_shape(rng):
    with pytest.raises(PortingError, match=r"bn/beta: \(4,\), not \(5,\)"):
        port_small(state(rng), {**TARGETS, "bn/beta": (5,)})


def test_refuses_two_tensors_for_one_variable(rng):
    with pytest.raises(PortingError, match=r"network does not have: e\.weight"):
        tensors = {**state(rng), "e.weight": np.ones((4, 2, 3, 3))}
        port(tensors, TARGETS, {"c": "conv", "e": "conv", "b": "bn"}.get)


def test_leaves_out_only_what_it_is_told_to(rng):
    tensors = {**state(rng), "x.weight": np.ones(3)}
    assert set(port_small(tensors, unused=["x.weight"])) == set(TARGETS)
