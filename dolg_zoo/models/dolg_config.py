"""The configuration of a DOLG network, stated in this one place."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from dolg_zoo._util.arguments import finite

MAX_SIZE = 2**14
"""The largest width, number of channels and image side: a configuration from a stranger must not
ask for more memory than there is."""

MAX_DILATIONS = 16

MAX_HEAD = 2**28
"""The most weights that the head may have; upstream's have 3 to 33 million."""


@dataclasses.dataclass(frozen=True)
class DOLGConfig:
    """Everything about the architecture; two networks of equal configuration are alike.

    The defaults are the paper's. `official()`, `paper()` and `dongkyuk()` are the variants that
    exist upstream.

    Attributes:
        backbone: name of the backbone in `dolg_zoo.backbones.BACKBONES`, or None for one that
            the user brings.
        taps: the backbone outputs for the local and the global branch, given as levels ("P4" has
            stride 16, "P5" stride 32) or layer names.
        input_shape: (height, width, channels); None where any size will do.
        dilation_rates: MultiAtrous' dilations; empty for no MultiAtrous.
        atrous_filters: channels of each branch of MultiAtrous.
        atrous_pointwise: whether MultiAtrous has a 1×1 branch.
        local_bias: whether the local branch's convolution has a bias before its batch norm.
        attention_channels: 1, or `hidden_dim` for an attention of each channel.
        bn_epsilon: epsilon of the local branch's batch norm.
        hidden_dim: channels of the local map and of the projected global vector.
        descriptor_dim: dimension of the descriptor, before any whitening.
        gem_p: GeM's power, or its first value where it is learned.
        gem_power: "shared", "channel" or "fixed": see `GeneralizedMeanPooling2D`.
        gem_epsilon: GeM's lower bound.
        mean: with `std`, one number per channel: the network starts with (x / 255 − mean) / std,
            for x in [0, 255]. None: it takes x as it is.
        std: see `mean`; all greater than 0.
        whitened_dim: dimension of the descriptor after whitening; None for none.

    Raises:
        ValueError: if a value is out of its range; the message names it.
    """

    backbone: str | None = None
    taps: tuple[str, str] = ("P4", "P5")
    input_shape: tuple[int | None, int | None, int] = (None, None, 3)
    dilation_rates: tuple[int, ...] = (6, 12, 18)
    atrous_filters: int = 512
    atrous_pointwise: bool = True
    local_bias: bool = True
    attention_channels: int = 1
    bn_epsilon: float = 1e-5
    hidden_dim: int = 1024
    descriptor_dim: int = 512
    gem_p: float = 3.0
    gem_power: str = "shared"
    gem_epsilon: float = 1e-6
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    whitened_dim: int | None = None

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, list):
                object.__setattr__(self, field.name, tuple(value))
        self._check()

    def _check(self) -> None:
        def require(name: str, holds: Callable[[Any], bool], wanted: str) -> None:
            if not holds(getattr(self, name)):
                raise ValueError(
                    f"DOLGConfig: {name} must be {wanted}, got {getattr(self, name)!r}."
                )

        def is_size(value: Any) -> bool:
            return type(value) is int and 0 < value <= MAX_SIZE

        def is_number(value: Any) -> bool:
            return isinstance(value, int | float) and finite(value) is not None

        def are_numbers(value: Any) -> bool:
            return isinstance(value, tuple) and all(map(is_number, value))

        require("backbone", lambda v: v is None or isinstance(v, str), "a name or None")
        require(
            "taps",
            lambda v: (
                isinstance(v, tuple) and len(v) == 2 and all(isinstance(tap, str) for tap in v)
            ),
            'two names, such as ("P4", "P5")',
        )
        require(
            "input_shape",
            lambda v: (
                isinstance(v, tuple)
                and len(v) == 3
                and is_size(v[2])
                and (v[:2] == (None, None) or all(map(is_size, v[:2])))
            ),
            "(height, width, channels), height and width both integers or both None",
        )
        require(
            "dilation_rates",
            lambda v: isinstance(v, tuple) and len(v) <= MAX_DILATIONS and all(map(is_size, v)),
            f"at most {MAX_DILATIONS} positive integers, or () for no MultiAtrous",
        )
        for name in ("atrous_filters", "hidden_dim", "descriptor_dim"):
            require(name, is_size, f"an integer from 1 to {MAX_SIZE}")
        for name in ("atrous_pointwise", "local_bias"):
            require(name, lambda v: isinstance(v, bool), "True or False")
        for name in ("bn_epsilon", "gem_p", "gem_epsilon"):
            require(name, lambda v: is_number(v) and v > 0, "a number greater than 0")
        require(
            "attention_channels",
            lambda v: is_size(v) and v in (1, self.hidden_dim),
            f"1 or hidden_dim ({self.hidden_dim})",
        )
        require(
            "gem_power",
            lambda v: v in ("shared", "channel", "fixed"),
            '"shared", "channel" or "fixed"',
        )
        require(
            "whitened_dim",
            lambda v: v is None or (is_size(v) and v <= self.descriptor_dim),
            f"None or an integer from 1 to descriptor_dim ({self.descriptor_dim})",
        )
        if self.mean is not None or self.std is not None:
            channels = self.input_shape[2]
            wanted = f"{channels} numbers, one a channel, when mean or std is given"
            require("mean", lambda v: are_numbers(v) and len(v) == channels, wanted)
            require(
                "std",
                lambda v: are_numbers(v) and len(v) == channels and min(v) > 0,
                wanted + ", each greater than 0",
            )
        if self._weights_in_head() > MAX_HEAD:
            raise ValueError(
                f"DOLGConfig: the head would have some {self._weights_in_head() // 10**6} million"
                f" weights, and {MAX_HEAD // 10**6} million are the most; choose a smaller"
                " hidden_dim, descriptor_dim or atrous_filters."
            )

    def _weights_in_head(self) -> int:
        """Return roughly the number of weights, over maps of 1024 channels."""
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
        """The length of the network's output vector."""
        return self.whitened_dim or self.descriptor_dim

    @classmethod
    def official(cls, **changes: Any) -> DOLGConfig:
        """Return the released weights' architecture (feymanpriv/DOLG): no MultiAtrous."""
        return cls.paper(**{"dilation_rates": (), **changes})

    @classmethod
    def paper(cls, **changes: Any) -> DOLGConfig:
        """Return the paper's architecture: that of the official code with MultiAtrous."""
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
        if self.whitened_dim is None:  # files and fingerprints from before there was whitening
            del values["whitened_dim"]
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> DOLGConfig:
        """Return the configuration that `to_dict` wrote.

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
