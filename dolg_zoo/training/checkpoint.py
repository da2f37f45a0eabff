"""The saved state of a run, from which a killed run continues."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from dolg_zoo._util.files import remove_unfinished, replacing_folder
from dolg_zoo._util.hashing import sha256_of
from dolg_zoo.errors import TrainingConfigError

WEIGHTS, STATE = "state.weights.h5", "state.json"
EPOCHS = "[run] epochs"  # a continued run may have more
KEPT = 2
"""Number of saved checkpoints: the last, and the one before in case the last is damaged."""


class CheckpointFolder:
    """The checkpoints of a run, each a folder `step_<number>` that is written atomically."""

    # `variables` are saved with the classifier and its optimizer, such as states of random
    # generators; a checkpoint with other `settings` is refused

    def __init__(
        self,
        folder: Path,
        classifier: keras.Model,
        variables: Sequence[keras.Variable],
        settings: dict[str, Any],
    ) -> None:
        self.folder = folder
        self.classifier = classifier
        self.variables = variables
        self.settings = json.loads(json.dumps(settings))

    def save(self, step: int, progress: dict[str, Any]) -> None:
        """Save the state after `step` steps and `progress`; after an OSError the old remains."""
        self.folder.mkdir(parents=True, exist_ok=True)
        remove_unfinished(self.folder)
        with replacing_folder(self.folder / f"step_{step:09d}") as temporary:
            self.classifier.save_weights(temporary / WEIGHTS)
            state = {
                "step": step,
                "sha256": sha256_of(temporary / WEIGHTS),
                "settings": self.settings,
                "variables": [np.asarray(variable).tolist() for variable in self.variables],
                "progress": progress,
            }
            (temporary / STATE).write_text(json.dumps(state, allow_nan=False))
        for old in self._all()[:-KEPT]:
            shutil.rmtree(old, ignore_errors=True)

    def restore(self) -> tuple[int, dict[str, Any]] | None:
        """Restore the last intact state; return its step and progress, or None without one."""
        # TrainingConfigError: the run had other settings, or no checkpoint is intact
        checkpoints = self._all()
        for checkpoint in reversed(checkpoints):
            state = _read(checkpoint)
            if state is None:
                continue
            self._check_settings(checkpoint, state["settings"])
            self.classifier.load_weights(checkpoint / WEIGHTS)
            for variable, value in zip(self.variables, state["variables"], strict=True):
                variable.assign(np.asarray(value, keras.backend.standardize_dtype(variable.dtype)))
            return state["step"], state["progress"]
        if checkpoints:
            raise TrainingConfigError(
                f"None of the {len(checkpoints)} checkpoints in {self.folder} is intact. To start"
                " again, delete that folder."
            )
        return None

    def last(self) -> Path | None:
        """Return the newest checkpoint."""
        every = self._all()
        return every[-1] if every else None

    def _check_settings(self, checkpoint: Path, saved: dict[str, Any]) -> None:
        before, now = dict(_flat(saved)), dict(_flat(self.settings))
        changes = [
            f"{key} was {before.get(key)!r} and is {now.get(key)!r}"
            for key in sorted({*before, *now})
            if before.get(key) != now.get(key)
            and not (key == EPOCHS and now.get(key, 0) > before.get(key, 0))
        ]
        if changes:
            raise TrainingConfigError(
                f"{checkpoint} belongs to a run with other settings: {'; '.join(changes)}. Choose"
                f" another output folder, or delete {self.folder} to start again."
            )

    def _all(self) -> list[Path]:
        return sorted(self.folder.glob("step_" + "[0-9]" * 9))


def _flat(settings: dict[str, Any], table: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the name of each setting, after that of its table, and its value."""
    for key, value in settings.items():
        if isinstance(value, dict) and not table:
            yield from _flat(value, f"[{key}] ")
        else:
            yield table + key, value


def _read(checkpoint: Path) -> dict[str, Any] | None:
    """Return the content of state.json, if it belongs to the weights beside it."""
    try:
        state = json.loads((checkpoint / STATE).read_text())
        whole = state["sha256"] == sha256_of(checkpoint / WEIGHTS)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return state if whole else None
