"""Set Keras's global dtype policy temporarily, and detect quantized layers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import keras


@contextmanager
def dtype_policy(dtype: str | keras.DTypePolicy | None) -> Iterator[None]:
    """Set the global dtype policy in the `with` block; None changes nothing."""
    before = keras.config.dtype_policy()
    if dtype is not None:
        keras.config.set_dtype_policy(dtype)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def check_not_quantized(net: keras.Model) -> None:
    """Raise ValueError for a network quantized in place, since Keras could not load its file."""
    modes = {
        layer.name: layer.quantization_mode
        for layer in net._flatten_layers()
        if getattr(layer, "quantization_mode", None)
    }
    if modes:
        kinds = ", ".join(sorted({*modes.values()}))
        raise ValueError(
            f"The layers {', '.join(modes)} are quantized to {kinds},"
            " and a saved file of them could not be loaded; nothing was written. Save the model"
            ' before quantize(). For int8, compile_for_inference and export take precision="int8".'
        )
