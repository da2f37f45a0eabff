"""Writes checkpoints with the real Paddle, and what the real Paddle reads from them.

Usage: write_paddle.py FOLDER. The arrays that paddle.load(return_numpy=True) gives go to
expected.npz as `file:key`.
"""

import sys
from pathlib import Path

import numpy as np

DTYPES = [
    *("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32"),
    *("float64", "complex64", "complex128"),
]
FILES = [f"{case}{p}" for case in ("layer", "types", "training", "chunks") for p in (2, 3, 4)]


def training(paddle, layer):
    rate = paddle.optimizer.lr.CosineAnnealingDecay(0.1, 10)
    steps = paddle.optimizer.Adam(parameters=layer.parameters(), learning_rate=rate)
    layer(paddle.ones([2, 3, 6, 6])).sum().backward()
    steps.step()
    return {"model": layer.state_dict(), "opt": steps.state_dict(), "epoch": 3, "best": 0.5}


def write(folder):
    import paddle
    from paddle.framework import io

    paddle.seed(0)
    layer = paddle.nn.Sequential(
        paddle.nn.Conv2D(3, 4, 3), paddle.nn.BatchNorm2D(4), paddle.nn.Linear(4, 2)
    )
    types = {dtype: paddle.arange(12).reshape([3, 4]).astype(dtype) for dtype in DTYPES}
    types["scalar"] = paddle.to_tensor(2.5)
    types["none"] = paddle.zeros([0, 3])
    cases = {"layer": layer.state_dict(), "types": types, "training": training(paddle, layer)}
    expected = {}

    def save(name, value, protocol, key=None):
        paddle.save(value, str(folder / name), protocol=protocol)
        loaded = paddle.load(str(folder / name), return_numpy=True)
        for tensor, array in (loaded[key] if key else loaded).items():
            expected[f"{name}:{tensor}"] = array

    for protocol in (2, 3, 4):
        for case, value in cases.items():
            save(f"{case}{protocol}", value, protocol, "model" if case == "training" else None)
        whole = io._unpack_saved_dict
        # as Paddle does with arrays of a gigabyte
        io._unpack_saved_dict = lambda saved, protocol: cut_up(saved, protocol)
        save(f"chunks{protocol}", layer.state_dict(), protocol)
        io._unpack_saved_dict = whole
    np.savez(folder / "expected.npz", **expected)


def cut_up(saved, protocol):
    """Paddle's own function, with its limit of 2**30 - 1 bytes lowered to 99."""
    import inspect

    from paddle.framework import io_utils

    source = inspect.getsource(io_utils._unpack_saved_dict)
    assert "2**30 - 1" in source
    scope = dict(vars(io_utils))
    exec(source.replace("2**30 - 1", "99"), scope)
    return scope["_unpack_saved_dict"](saved, protocol)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
