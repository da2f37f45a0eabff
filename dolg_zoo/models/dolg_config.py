"""The configuration of a DOLG network."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from dolg_zoo._util.arguments import (
    check_fields,
    finite,
    number,
    one_of,
    stated,
    true_or_false,
    whole_number,
)
from dolg_zoo._util.text import short_repr

MAX_SIZE = 2**14
"""Maximum width, number of channels and image side, so that a configuration from a stranger cannot
need too much memory."""

MAX_DILATIONS = 16

MAX_HEAD = 2**28
"""Maximum number of weights of the head; upstream heads have 3 to 33 million."""


def _require(name: str, value: Any, holds: Callable[[Any], bool], wanted: str) -> Any:
    if not holds(value):
        raise ValueError(f"{name} must be {wanted}, got {short_repr(value)}.")
    return value


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_size(value: object) -> bool:
    return type(value) is int and 0 < value <= MAX_SIZE


def _are_numbers(values: object, count: int) -> bool:
    return (
        isinstance(values, tuple)
        and len(values) == count
        and all(finite(value) is not None for value in values)
    )


@dataclasses.dataclass(frozen=True)
class DOLGConfig:
    """The whole architecture of a network.

    The defaults are the paper's. `official()`, `paper()` and `dongkyuk()` return the upstream
    variants.

    Attributes:
        backbone: name of the backbone in `dolg_zoo.backbones.BACKBONES`, or None for the user's
            own backbone.
        taps: the backbone outputs for the local and the global branch, given as levels ("P4" has
            stride 16, "P5" stride 32) or layer names.
        input_shape: (height, width, channels); height and width None for any size.
        dilation_rates: MultiAtrous' dilations; empty for no MultiAtrous.
        atrous_filters: channels of each branch of MultiAtrous.
        atrous_pointwise: whether MultiAtrous has a 1×1 branch.
        local_bias: whether the local branch's convolution has a bias before its batch norm.
        attention_channels: 1, or `hidden_dim` for an attention of each channel.
        bn_epsilon: epsilon of the local branch's batch norm.
        hidden_dim: channels of the local map and of the projected global vector.
        descriptor_dim: dimension of the descriptor, before any whitening.
        gem_p: GeM's exponent, or its initial value if it is learned.
        gem_power: "shared", "channel" or "fixed": see `GeneralizedMeanPooling2D`.
        gem_epsilon: GeM's lower bound.
        mean: with `std`, one number per channel: the network starts with (x / 255 − mean) / std,
            for x in [0, 255]. None: it takes x as it is.
        std: see `mean`; all greater than 0.
        whitened_dim: dimension of the descriptor after whitening; None for none.

    Raises:
        ValueError: if a value is out of its range; the message names it.
    """

    backbone: str | None = stated(_require, holds=_is_text, wanted="a name or None", default=None)
    taps: tuple[str, str] = stated(
        _require,
        holds=lambda taps: isinstance(taps, tuple) and [*map(_is_text, taps)] == [True, True],
        wanted='two names, such as ("P4", "P5")',
        default=("P4", "P5"),
    )
    input_shape: tuple[int | None, int | None, int] = stated(
        _require,
        holds=lambda shape: (
            isinstance(shape, tuple)
            and len(shape) == 3
            and _is_size(shape[2])
            and (shape[:2] == (None, None) or all(map(_is_size, shape[:2])))
        ),
        wanted="(height, width, channels), height and width both integers or both None",
        default=(None, None, 3),
    )
    dilation_rates: tuple[int, ...] = stated(
        _require,
        holds=lambda rates: (
            isinstance(rates, tuple) and len(rates) <= MAX_DILATIONS and all(map(_is_size, rates))
        ),
        wanted=f"at most {MAX_DILATIONS} positive integers, or () for no MultiAtrous",
        default=(6, 12, 18),
    )
    atrous_filters: int = stated(whole_number, least=1, most=MAX_SIZE, default=512)
    atrous_pointwise: bool = stated(true_or_false, default=True)
    local_bias: bool = stated(true_or_false, default=True)
    attention_channels: int = stated(whole_number, least=1, most=MAX_SIZE, default=1)
    bn_epsilon: float = stated(number, least=0, open_ends=True, default=1e-5)
    hidden_dim: int = stated(whole_number, least=1, most=MAX_SIZE, default=1024)
    descriptor_dim: int = stated(whole_number, least=1, most=MAX_SIZE, default=512)
    gem_p: float = stated(number, least=0, open_ends=True, default=3.0)
    gem_power: str = stated(one_of, known=("shared", "channel", "fixed"), default="shared")
    gem_epsilon: float = stated(number, least=0, open_ends=True, default=1e-6)
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    whitened_dim: int | None = stated(whole_number, least=1, most=MAX_SIZE, default=None)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, list):
                object.__setattr__(self, field.name, tuple(value))
        check_fields(self, "DOLGConfig: ")
        self._check_together()

    def _check_together(self) -> None:
        _require(
            "DOLGConfig: attention_channels",
            self.attention_channels,
            lambda value: value in (1, self.hidden_dim),
            f"1 or hidden_dim ({self.hidden_dim})",
        )
        _require(
            "DOLGConfig: whitened_dim",
            self.whitened_dim,
            lambda value: value is None or value <= self.descriptor_dim,
            f"None or an integer from 1 to descriptor_dim ({self.descriptor_dim})",
        )
        if self.mean is not None or self.std is not None:
            channels = self.input_shape[2]
            wanted = f"{channels} numbers, one per channel, when mean or std is given"
            are_numbers = partial(_are_numbers, count=channels)
            _require("DOLGConfig: mean", self.mean, are_numbers, wanted)
            _require(
                "DOLGConfig: std",
                self.std,
                lambda std: are_numbers(std) and min(std) > 0,
                f"{wanted}, each greater than 0",
            )
        if self._weights_in_head() > MAX_HEAD:
            raise ValueError(
                f"DOLGConfig: the head would have about {self._weights_in_head() // 10**6} million"
                f" weights, but the limit is {MAX_HEAD // 10**6} million; choose a smaller"
                " hidden_dim, descriptor_dim or atrous_filters."
            )

    def _weights_in_head(self) -> int:
        """Return the approximate number of weights, for maps of 1024 channels."""
        dilated = len(self.dilation_rates)
        channels, atrous = 1024, 0
        if dilated:
            branches = (9 * dilated + 2) * 1024 + (dilated + 2) * self.hidden_dim
            channels, atrous = self.hidden_dim, branches * self.atrous_filters
        per_channel = 1024 + channels + self.attention_channels + 2 * self.descriptor_dim
        whitening = self.descriptor_dim * (self.whitened_dim or 0)
        return atrous + self.hidden_dim * per_channel + whitening

    @property
    def output_dim(self) -> int:
        """The dimension of the network's output vector."""
        return self.whitened_dim or self.descriptor_dim

    @classmethod
    def official(cls, **changes: Any) -> DOLGConfig:
        """Return the architecture of the released weights (feymanpriv/DOLG): no MultiAtrous."""
        return cls.paper(**{"dilation_rates": (), **changes})

    @classmethod
    def paper(cls, **changes: Any) -> DOLGConfig:
        """Return the paper's architecture: the official code's with MultiAtrous."""
        return cls(**changes)

    @classmethod
    def dongkyuk(cls, **changes: Any) -> DOLGConfig:
        """Return the architecture of dongkyuk/DOLG-pytorch, whose taps have strides 8 and 16."""
        variant = {
            "taps": ("P3", "P4"),
            "dilation_rates": (3, 6, 9),
            "atrous_pointwise": False,
            "local_bias": False,
            "attention_channels": 1024,
            "gem_power": "fixed",
        }
        return cls(**{**variant, **changes})

    def to_dict(self) -> dict[str, Any]:
        """Return a dictionary that JSON can hold."""
        values = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in dataclasses.asdict(self).items()
        }
        if self.whitened_dim is None:  # older files and fingerprints have no whitening
            del values["whitened_dim"]
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> DOLGConfig:
        """Return the configuration for a dict from `to_dict`.

        Raises:
            ValueError: if a key is unknown, or a value is out of its range.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ValueError(
                f"DOLGConfig has no {', '.join(map(repr, unknown))}; it has"
                f" {', '.join(sorted(known))}."
            )
        return cls(**values)
