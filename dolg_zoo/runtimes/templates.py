"""Make the compiled forms of the embedded presets from their weights, without TensorFlow.

A compiled file consists mainly of float32 weights: each kernel times a factor per channel, since
batch normalisation is folded. So the preset has a template: the file with zeros for its kernels,
the factors, and the offset of each kernel. sha256 pin the template and the resulting file.

`tools/make_runtime_template.py` makes a template.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dolg_zoo._util.hashing import fault_in
from dolg_zoo.errors import WeightsError
from dolg_zoo.weights import load_manifest
from dolg_zoo.weights.manifest import EMBEDDED, WEIGHTS
from dolg_zoo.weights.verification import verify_files


@dataclass(frozen=True)
class Template:
    """The template of a preset's compiled file."""

    # `facts`: `file` (name and sha256 of the compiled file), `kernels` (for each, the dataset in
    # the preset's weights, the order of axes and the offset), `record` (as `CompiledDOLG.record`),
    # and for the maps `last_layers` (datasets of kernel and bias of each layer after the maps).

    path: Path  # in the preset's folder
    facts: dict[str, Any]

    @property
    def record(self) -> dict[str, Any]:
        """Facts about the compiled form."""
        return dict(self.facts["record"])

    def write(self, folder: Path, weights: Path | None = None) -> None:
        """Write the compiled file into a folder; see `content`."""
        (folder / self.facts["file"]["name"]).write_bytes(self.content(weights))

    def content(self, weights: Path | None = None) -> bytes:
        """Return the compiled file's bytes; raise WeightsError for a wrong sha256."""
        # `weights` is by default the file beside the template
        import h5py

        with np.load(self.path) as arrays, h5py.File(weights or self.path.parent / WEIGHTS) as file:
            content = bytearray(arrays["content"])
            for number, kernel in enumerate(self.facts["kernels"]):
                values = file[kernel["dataset"]][()].transpose(kernel["axes"])
                values = values.astype("<f4") * arrays[f"factors_{number}"]
                content[kernel["begin"] : kernel["begin"] + values.nbytes] = values.tobytes()
        name, expected = self.facts["file"]["name"], self.facts["file"]["sha256"]
        if fault := fault_in(bytes(content), expected):
            raise WeightsError(f"{name}, made from {self.path}, is not the pinned file: {fault}.")
        return bytes(content)


def find_template(
    form: str, preset: str | None = None, model_id: str | None = None
) -> Template | None:
    """Return the shipped template of a compiled form, such as "litert-float32", or None."""
    # The prefix "maps-" is for explanations. WeightsError: a template was changed, and no other
    # fits.
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
