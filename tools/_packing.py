"""Puts a preset into the package: its kernels in half the space, and its hashes in the manifest."""

import json
import shutil
import tempfile
from pathlib import Path

import h5py
import numpy as np
from _pinning import write_entry

from dolg_zoo import DOLG
from dolg_zoo._util.hashing import sha256_of
from dolg_zoo.presets import read_preset


def round_kernels(net):
    """Round to the values that float16 can hold; vectors, batch norms among them, stay."""
    for weight in net.weights:
        if len(weight.shape) > 1:
            weight.assign(np.asarray(weight).astype(np.float16))


def write_packed(net, converter, metadata, folder):
    """Write a preset folder whose kernels, which float16 can hold, are stored in half the space."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        whole = Path(scratch, metadata["name"])
        DOLG(net, converter, metadata).save_to_preset(whole)
        for name in ("config.json", "preprocessor.json", "metadata.json"):
            shutil.copy(whole / name, folder / name)
        compact(whole / "model.weights.h5", folder / "model.weights.h5")
    written = json.loads((folder / "metadata.json").read_text())
    written["sha256"]["model.weights.h5"] = sha256_of(folder / "model.weights.h5")
    (folder / "metadata.json").write_text(json.dumps(written, indent=1) + "\n")
    stored = read_preset(folder).net
    for ours, theirs in zip(net.weights, stored.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs, err_msg=ours.path)


def compact(source, target):
    """Copy a weight file with its kernels as float16, compressed."""
    target.unlink(missing_ok=True)
    with h5py.File(source) as whole, h5py.File(target, "w") as small:

        def copy(name, item):
            if isinstance(item, h5py.Group):
                small.require_group(name).attrs.update(item.attrs)
            elif item.ndim > 1:
                half = item[()].astype(np.float16)
                small.create_dataset(name, data=half, compression="gzip", shuffle=True)
            else:
                small.create_dataset(name, data=item[()])

        whole.visititems(copy)
        small.attrs.update(whole.attrs)


def pin_folder(manifest, name, folder, stated):
    """Put an embedded preset into the manifest: the hashes of its files, and its provenance.

    Args:
        manifest: the file.
        name: of the preset.
        folder: its folder.
        stated: what its entry says if there is none yet: `description`, `dataset` and so on.
            Figures are written into the manifest by hand, once they are measured.
    """
    entry = json.loads(manifest.read_text(encoding="utf-8"))["presets"].get(name)
    if entry is None:
        config = json.loads((folder / "config.json").read_text())["dolg"]
        architecture = {"architecture": config["backbone"]}
        entry = {**stated, **architecture, "descriptor_dim": config["descriptor_dim"]}
        entry |= {"source": "embedded", "figures": [], "figures_note": ""}
    entry["files"] = {
        path.name: {"size": path.stat().st_size, "sha256": sha256_of(path)}
        for path in sorted(folder.iterdir())
    }
    entry["provenance"] = json.loads((folder / "metadata.json").read_text())["provenance"]
    write_entry(manifest, name, entry, accept_change=True)
