"""Writes a checkpoint as its upstream does, with parameters from the golden rule.

Usage: python write_checkpoint.py FILL.py KEYS.json MODEL FORM OUT
"""

import json
import re
import runpy
import sys

import numpy as np

LATER_BLOCK = re.compile(r"cnn\.layer3\.([6-9]|\d\d)\.")  # beyond those of 50 layers


def arrays(fill, keys, model):
    for key, shape in keys.items():
        if key.endswith("num_batches_tracked") or key == "desc_cls.t":
            yield key, np.zeros(shape, "int64" if key.endswith("tracked") else "float32")
        elif model == "paddle":
            name = key.replace("._mean", ".running_mean").replace("._variance", ".running_var")
            yield key, fill(name, shape[::-1]).T if len(shape) == 2 else fill(name, shape)
        else:
            yield key, fill(key, shape)


def main(fill_file, keys_file, model, form, out):
    fill = runpy.run_path(fill_file)["fill"]
    with open(keys_file) as file:  # noqa: PTH123
        keys = json.load(file)
    keys = keys.get(model, keys)
    if model == "dongkyuk_50":
        keys = {key: shape for key, shape in keys.items() if not LATER_BLOCK.match(key)}
    state = dict(arrays(fill, keys, model))
    if model == "paddle":
        import paddle

        tensors = {key: paddle.to_tensor(np.ascontiguousarray(a)) for key, a in state.items()}
        paddle.save(tensors, out, protocol=4)
        return
    import torch

    tensors = {key: torch.from_numpy(np.array(array)) for key, array in state.items()}
    if model.startswith("dongkyuk"):  # one branch, registered twice
        for leaf in ("weight", "bias"):
            branch = "local_branch.multi_atrous."
            tensors[f"{branch}gap_branch.1.{leaf}"] = tensors[f"{branch}dilated_convs.3.1.{leaf}"]
    if form == "pyth":  # as the official training code, under torch < 1.6, several GPUs
        tensors = {f"module.{key}": tensor for key, tensor in tensors.items()}
        saved = {"epoch": 99, "model_state": tensors, "optimizer_state": {}, "cfg": "MODEL: dolg"}
        torch.save(saved, out, _use_new_zipfile_serialization=False)
    elif form == "ckpt":
        torch.save({"epoch": 9, "pytorch-lightning_version": "1.4.0", "state_dict": tensors}, out)
    else:
        torch.save(tensors, out)


if __name__ == "__main__":
    main(*sys.argv[1:])
