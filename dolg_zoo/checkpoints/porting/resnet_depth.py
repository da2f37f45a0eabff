"""Recognise a state dict's ResNet by the number of blocks in its stages."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import numpy as np

from dolg_zoo.errors import PortingError

STAGES = {(3, 4, 6, 3): "resnet50", (3, 4, 23, 3): "resnet101", (3, 8, 36, 3): "resnet152"}


def resnet_of(keys: Iterable[str], block: str, stages: int = 4) -> str:
    """Return the backbone whose first stages have these keys; raise PortingError if none has."""
    # `block` matches the start of a block's keys; its groups are the stage's and the block's number
    found: dict[int, set[int]] = {}
    for key in keys:
        if match := re.match(block, key):
            found.setdefault(int(match[1]), set()).add(int(match[2]))
    counts = tuple(len(found[stage]) for stage in sorted(found))
    for blocks, name in STAGES.items():
        if blocks[:stages] == counts:
            return name
    if not found:
        example = re.sub(r"\(.*?\)", "1", block).replace("\\", "")
        raise PortingError(
            f"The checkpoint is of another model: no key of it begins like {example!r}. Its first"
            f" keys: {', '.join(map(ascii, list(keys)[:5]))}."
        )
    raise PortingError(
        f"The checkpoint's backbone has {counts} blocks in its stages; known are"
        f" {', '.join(f'{blocks[:stages]} ({name})' for blocks, name in STAGES.items())}."
    )


def width_of(state: Mapping[str, np.ndarray], key: str, axis: int = 0) -> int:
    """Return the size of a kernel along `axis`; raise PortingError if there is no such kernel."""
    if key not in state or state[key].ndim not in (2, 4):
        found = f"its shape is {state[key].shape}" if key in state else "there is none"
        raise PortingError(f"The checkpoint must hold a kernel {key!r}; {found}.")
    return int(state[key].shape[axis])
