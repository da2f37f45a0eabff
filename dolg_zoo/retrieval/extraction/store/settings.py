"""What is true of all descriptors of a store."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dolg_zoo.errors import StoreError

MAX_DIM = 2**16
MAX_NAME = 1000
MAX_SCALES = 16
MAX_SCALE = 2.0**14
DTYPES = ("float32", "float16")


@dataclass(frozen=True)
class Settings:
    """What made the descriptors of a store, and how they are kept.

    Attributes:
        model_id: `dolg_zoo.embedders.fingerprint` of the model.
        model_name: what to call it in messages.
        dim: length of a descriptor, up to 2**16.
        dtype: "float32" or "float16".
        scales: at which the images are embedded.

    Raises:
        StoreError: a setting has a wrong type or value.
    """

    model_id: str
    model_name: str
    dim: int
    dtype: str
    scales: tuple[float, ...]

    def __post_init__(self) -> None:
        """Check every setting."""
        for name in ("model_id", "model_name"):
            value = getattr(self, name)
            if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME:
                raise StoreError(
                    f"{name} must be text of 1 to {MAX_NAME} characters, not {str(value)[:80]!r}"
                )
        if type(self.dim) is not int or not 0 < self.dim <= MAX_DIM:
            raise StoreError(
                f"dim must be a whole number from 1 to {MAX_DIM}, not {str(self.dim)[:80]!r}"
            )
        if self.dtype not in DTYPES:
            raise StoreError(f"dtype must be one of {', '.join(DTYPES)}, not {self.dtype!r}")
        if not (
            isinstance(self.scales, tuple)
            and 0 < len(self.scales) <= MAX_SCALES
            and all(type(scale) in (int, float) for scale in self.scales)
            and all(0 < scale <= MAX_SCALE for scale in self.scales)
        ):
            raise StoreError(
                f"scales must be one to {MAX_SCALES} numbers above 0 and up to {MAX_SCALE:g}, not"
                f" {str(self.scales)[:80]}"
            )

    def check_same(self, wanted: Settings, folder: Path) -> None:
        """Raises StoreError if descriptors made with `wanted` do not belong to the others."""
        differences = [
            f"{name} {_shown(self, name)} there, {_shown(wanted, name)} here"
            for name in ("model_id", "dim", "dtype", "scales")
            if getattr(self, name) != getattr(wanted, name)
        ]
        if differences:
            raise StoreError(
                f"The descriptors in {str(folder)!r} were made otherwise: {'; '.join(differences)}."
                " Give the same settings, or another folder."
            )


def _shown(settings: Settings, name: str) -> str:
    if name == "model_id":
        return f"{settings.model_id} ({settings.model_name!r})"
    if name == "scales":
        return ", ".join(f"{scale:g}" for scale in settings.scales)
    return str(getattr(settings, name))
