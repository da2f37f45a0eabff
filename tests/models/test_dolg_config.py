import json

import pytest

from dolg_zoo.models import DOLGConfig


def test_survives_json():
    config = DOLGConfig.dongkyuk(backbone="resnet101", mean=(0.1, 0.2, 0.3), std=(1, 2, 3))
    assert DOLGConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_without_whitening_it_is_described_as_before_there_was_any():
    assert "whitened_dim" not in DOLGConfig().to_dict()
    assert DOLGConfig.from_dict(DOLGConfig(whitened_dim=7).to_dict()).whitened_dim == 7


def test_refuses_a_key_it_does_not_know():
    with pytest.raises(ValueError, match="has no 'dilations'"):
        DOLGConfig.from_dict({"dilations": [1]})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("backbone", 50),
        ("taps", ("P4",)),
        ("taps", "P4"),
        ("input_shape", (224, 224)),
        ("input_shape", (0, 224, 3)),
        ("dilation_rates", (6, 0)),
        ("dilation_rates", 6),
        ("dilation_rates", (True,)),
        ("dilation_rates", (1,) * 17),
        ("input_shape", (None, 224, 3)),
        ("hidden_dim", 2**14 + 1),
        ("attention_channels", True),
        ("atrous_filters", -1),
        ("atrous_pointwise", 1),
        ("attention_channels", 7),
        ("bn_epsilon", 0),
        ("hidden_dim", 0.5),
        ("descriptor_dim", True),
        ("gem_p", float("nan")),
        ("gem_power", "learned"),
        ("mean", (0.5, 0.5)),
        ("std", (1.0, 1.0, 0.0)),
        ("whitened_dim", 0),
        ("whitened_dim", 513),
        ("whitened_dim", 1.0),
    ],
)
def test_names_the_value_at_fault(name, value):
    others = {"mean": (0, 0, 0), "std": (1, 1, 1)} if name in ("mean", "std") else {}
    with pytest.raises(ValueError, match=f"DOLGConfig: {name} must be .* got "):
        DOLGConfig(**{**others, name: value})


@pytest.mark.parametrize(
    "widths",
    [
        {"hidden_dim": 2**14},
        {"hidden_dim": 2**13, "descriptor_dim": 2**14},
        {"hidden_dim": 2**13, "atrous_filters": 2**13},
        {"atrous_filters": 2**13},
        {"hidden_dim": 2**14, "attention_channels": 2**14, "dilation_rates": ()},
    ],
)
def test_refuses_a_head_of_more_weights_than_any_has(widths):
    """Each width alone is allowed; a kernel has the product of two."""
    with pytest.raises(ValueError, match=r"DOLGConfig: .* million weights"):
        DOLGConfig(**widths)


def test_a_head_may_be_several_times_as_wide_as_upstreams():
    DOLGConfig(hidden_dim=4096, descriptor_dim=4096, atrous_filters=2048)
    DOLGConfig.official(hidden_dim=8192, descriptor_dim=4096)


def test_wants_a_deviation_with_a_mean():
    with pytest.raises(ValueError, match="std must be 3 numbers"):
        DOLGConfig(mean=(0.5, 0.5, 0.5))


def test_the_upstream_variants_differ_where_upstream_does():
    assert DOLGConfig.official().dilation_rates == ()
    assert DOLGConfig.paper().dilation_rates == (6, 12, 18)
    dongkyuk = DOLGConfig.dongkyuk()
    assert dongkyuk.dilation_rates == (3, 6, 9)
    assert dongkyuk.attention_channels == 1024
    assert dongkyuk.taps == ("P3", "P4")
