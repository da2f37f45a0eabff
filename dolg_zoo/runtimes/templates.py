"""Compiled forms of the embedded presets, made of their weights without TensorFlow.

A compiled file is as large as the weights in float32, and most of it are these weights: each kernel
times one factor a channel, since batch normalisation is folded into it. So a template ships with
the preset: the file with zeros for its kernels, the factors, and where each kernel goes. The
template and the file that it makes are both pinned by their sha256.

`tools/make_runtime_template.py` makes a template.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dolg_zoo.errors import WeightsError
from dolg_zoo.weights import load_manifest
from dolg_zoo.weights.kept import EMBEDDED
from dolg_zoo.weights.manifest import WEIGHTS
from dolg_zoo.weights.verification import verify_files


@dataclass(frozen=True)
class Template:
    """The template of a preset's compiled file.

    Attributes:
        path: the file of the template, in the folder of the preset.
        facts: its JSON: `file` (name and sha256 of the compiled file), `kernels` (dataset in the
            preset's weights, order of its axes and byte at which it begins, for each), and `record`
            (facts about the compiled form, as `CompiledDOLG.record` has them). That of the maps has
            `last_layers` as well: the datasets of kernel and bias of each layer after the maps.
    """

    path: Path
    facts: dict[str, Any]

    @property
    def record(self) -> dict[str, Any]:
        """Facts about the compiled form."""
        return dict(self.facts["record"])

    def write(self, folder: Path, weights: Path | None = None) -> None:
        """Write the compiled file into a folder; see `content`.

        Raises:
            WeightsError: as `content`.
            OSError: if it cannot be written.
        """
        (folder / self.facts["file"]["name"]).write_bytes(self.content(weights))

    def content(self, weights: Path | None = None) -> bytes:
        """Return the bytes of the compiled file.

        Args:
            weights: the weights of the preset; by default the file beside the template.

        Raises:
            WeightsError: if the result is not the file that was compared with Keras.
        """
        import h5py

        with np.load(self.path) as arrays, h5py.File(weights or self.path.parent / WEIGHTS) as file:
            content = bytearray(arrays["content"])
            for number, kernel in enumerate(self.facts["kernels"]):
                values = file[kernel["dataset"]][()].transpose(kernel["axes"])
                values = values.astype("<f4") * arrays[f"factors_{number}"]
                content[kernel["begin"] : kernel["begin"] + values.nbytes] = values.tobytes()
        name, expected = self.facts["file"]["name"], self.facts["file"]["sha256"]
        found = hashlib.sha256(content).hexdigest()
        if found != expected:
            raise WeightsError(
                f"{name}, made of {self.path}, has the sha256 {found} instead of {expected}."
            )
        return bytes(content)


def find_template(
    form: str, preset: str | None = None, model_id: str | None = None
) -> Template | None:
    """Return the template of a compiled form, if it ships with dolg-zoo.

    Args:
        form: runtime and precision of the compiled form, "litert-float32" say; with "maps-" before
            it for what an explanation is computed from.
        preset: the name of the preset; None for any.
        model_id: the id of the model in float32; None for any.

    Raises:
        WeightsError: if it is not found, and a template has been changed.
    """
    file = f"{form}.npz"
    changed: WeightsError | None = None
    for name, entry in load_manifest().presets.items():
        if entry.source is not None or file not in entry.files or preset not in (None, name):
            continue
        (checked,) = verify_files(EMBEDDED / name, {file: entry.files[file]})
        if checked.fault:
            changed = WeightsError(
                f"{checked.path}, which ships with dolg-zoo, is not the file that was released"
                f" ({checked.fault}); reinstall the package."
            )
            continue
        with np.load(checked.path) as arrays:
            facts = json.loads(bytes(arrays["facts"]))
        if model_id in (None, facts["record"]["model_id"]):
            return Template(checked.path, facts)
    if changed:
        raise changed
    return None
