"""Writes checkpoints with the real PyTorch, and what the real PyTorch reads from them.

Usage: write_torch.py FOLDER. Each case of CASES becomes NAME.zip.pt and NAME.stream.pt, and the
tensors that torch.load gives go to expected.npz as `file:key:dtype`.
"""

import sys
import warnings
from collections import OrderedDict
from pathlib import Path

import numpy as np

DTYPES = [
    *("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64"),
    *("bfloat16", "complex64", "complex128"),
]
NEW_DTYPES = [
    *("uint16", "uint32", "uint64"),
    *("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu"),
]


def plain(torch):
    tensors = {}
    for dtype in DTYPES:
        tensors[dtype] = (torch.arange(12).reshape(3, 4) - 3).to(getattr(torch, dtype))
    return tensors


def new_types(torch):
    raw = torch.arange(64, dtype=torch.uint8)
    known = [dtype for dtype in NEW_DTYPES if hasattr(torch, dtype)]
    return {dtype: raw.clone().view(getattr(torch, dtype)) for dtype in known}


def views(torch):
    base = torch.arange(24.0).reshape(4, 6)
    return {
        "base": base,
        "turned": base.T,
        "part": base[1:3, 2:5],
        "every_other": base[::2, 1::3],
        "expanded": base[:, :1].expand(4, 5),
        "same": base,
        "permuted": torch.arange(24).reshape(2, 3, 4).permute(2, 0, 1),
        "channels_last": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
    }


def small(torch):
    return {
        "scalar": torch.tensor(2.5),
        "none": torch.empty(0),
        "rows_of_none": torch.empty(3, 0, 2),
        "one": torch.ones(1, 1),
        "element": torch.arange(5)[3],
        "nothing_of_some": torch.arange(5.0)[5:],
    }


def parameters(torch):
    marked = torch.nn.Parameter(torch.arange(3.0))
    marked.shard = 1
    return OrderedDict(
        weight=torch.nn.Parameter(torch.arange(4.0)),
        frozen=torch.nn.Parameter(torch.ones(2), requires_grad=False),
        marked=marked,
    )


def network(torch):
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Linear(4, 2)
    )


def module(torch):
    return network(torch).state_dict()


def training(torch, key="state_dict", prefix=""):
    """Like a checkpoint of a trainer: optimizer, scheduler and callbacks beside the model."""
    net = network(torch)
    steps = torch.optim.AdamW(net.parameters(), lr=0.1)
    rate = torch.optim.lr_scheduler.MultiStepLR(steps, [2, 5])
    net(torch.randn(2, 3, 6, 6)).sum().backward()
    steps.step()
    return {
        "epoch": 3,
        "global_step": 2**40,
        "pytorch-lightning_version": "2.1.0",
        "hyper_parameters": {"lr": 0.1, "dims": (64, -1), "names": {"a", "b"}, "note": None},
        "callbacks": {"ModelCheckpoint": {"best_score": torch.tensor(0.5), "raw": b"\xff\x00"}},
        "loops": {"fit_loop": {"state_dict": {}, "done": [True, False]}},
        "optimizer_states": [steps.state_dict()],
        "lr_schedulers": [rate.state_dict()],
        "shape": torch.Size([3, 4]),
        "device": torch.device("cpu"),
        "precision": torch.bfloat16,
        key: OrderedDict((prefix + name, value) for name, value in net.state_dict().items()),
    }


def pycls(torch):
    return training(torch, "model_state")


def under_model(torch):
    return training(torch, "model")


def distributed(torch):
    return training(torch, prefix="module._orig_mod.")


# name of the case: what makes the checkpoint, where its state dict is, and the prefix to lose
CASES = {
    "plain": (plain, None, ""),
    "new_types": (new_types, None, ""),
    "views": (views, None, ""),
    "small": (small, None, ""),
    "parameters": (parameters, None, ""),
    "module": (module, None, ""),
    "training": (training, "state_dict", ""),
    "pycls": (pycls, "model_state", ""),
    "under_model": (under_model, "model", ""),
    "distributed": (distributed, "state_dict", "module._orig_mod."),
}
# PyTorch writes these types into a stream, but fails to read them back.
NOT_STREAMED = ["new_types"]


def write_others(torch, folder):
    """Files that hold something else than plain tensors."""
    ones = torch.ones(2, 2)
    tensors = {
        "quantized": torch.quantize_per_tensor(ones, 0.1, 3, torch.qint8),
        "sparse": ones.to_sparse(),
        "nested": torch.nested.nested_tensor([ones, ones[0:1]]),
        "meta": torch.empty(2, device="meta"),
        "conjugated": torch.ones(2, dtype=torch.complex64).conj(),
    }
    for name, tensor in tensors.items():
        torch.save({"x": tensor}, folder / f"{name}.pt")
    torch.save(network(torch), folder / "whole_module.pt")
    torch.jit.script(network(torch)).save(folder / "script.pt")


def write(folder):
    import torch

    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    expected = {}

    def save(file, case, **options):
        make, key, prefix = CASES[case]
        torch.save(make(torch), folder / file, **options)
        # its restricted reader knows no byte strings in protocols 3 and 4
        ours_alone = options.get("pickle_protocol", 2) > 2
        loaded = torch.load(folder / file, weights_only=not ours_alone)
        for name, tensor in (loaded[key] if key else loaded).items():
            dtype = str(tensor.dtype).removeprefix("torch.")
            if dtype == "bfloat16":
                array = tensor.detach().view(torch.uint16).numpy()
            elif dtype.startswith("float8"):
                array = tensor.view(torch.uint8).numpy()
            else:
                array = tensor.detach().numpy()
            expected[f"{file}:{name.removeprefix(prefix)}:{dtype}"] = array

    for case in CASES:
        save(f"{case}.zip.pt", case)
        if case not in NOT_STREAMED:
            save(f"{case}.stream.pt", case, _use_new_zipfile_serialization=False)
    for protocol in (3, 4):
        save(f"protocol{protocol}.zip.pt", "training", pickle_protocol=protocol)
        save(
            f"protocol{protocol}.stream.pt",
            "training",
            pickle_protocol=protocol,
            _use_new_zipfile_serialization=False,
        )
    torch.save(plain(torch), folder / "protocol5.pt", pickle_protocol=5)
    torch.serialization.set_crc32_options(False)
    save("no_checksums.zip.pt", "plain")
    torch.serialization.set_crc32_options(True)
    write_others(torch, folder)
    np.savez(folder / "expected.npz", **expected)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
