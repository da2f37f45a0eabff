"""Saves arrays as PyTorch does, then runs a script on them.

Both in one process: to import PyTorch a second time would take as long as the script itself.

Usage: python _run_on_torch_checkpoint.py zip|legacy STATE.npz SCRIPT CHECKPOINT ARGUMENT...
"""

import runpy
import sys
from pathlib import Path

import numpy as np
import torch


def main(storage, state_file, script, checkpoint, *arguments):
    with np.load(state_file) as arrays:
        state = {key: torch.from_numpy(array) for key, array in arrays.items()}
    if storage == "legacy":  # and wrapped, as an old training run over several GPUs left it
        state = {"epoch": 99, "model_state": {f"module.{key}": state[key] for key in state}}
    torch.save(state, checkpoint, _use_new_zipfile_serialization=storage == "zip")
    del state, arrays
    sys.argv = [script, checkpoint, *arguments]
    sys.path[0] = str(Path(script).parent)
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
    main(*sys.argv[1:])
