"""The settings that all descriptors of a store share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dolg_zoo._util.arguments import one_of, whole_number
from dolg_zoo.embedders.fingerprint import name_of_model
from dolg_zoo.errors import StoreError
from dolg_zoo.preprocessing.scales import checked_scales

if TYPE_CHECKING:
    from dolg_zoo.embedders.base import ImageEmbedder

MAX_DIM = 2**16
MAX_NAME = 1000
DTYPES = ("float32", "float16")


@dataclass(frozen=True)
class Settings:
    """What made the descriptors of a store, and how they are kept.

    Attributes:
        model_id: `dolg_zoo.embedders.fingerprint` of the model.
        model_name: the name of the model for messages.
        dim: dimension of a descriptor, up to 2**16.
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

    @classmethod
    def of(
        cls, model: ImageEmbedder, scales: Sequence[float] | None, dtype: str = "float32"
    ) -> Settings:
        """Return the settings of a model's descriptors; scales None: the model's own."""
        scales = model.image_converter.scales_or_own(scales)
        return cls(model.model_id, name_of_model(model), model.descriptor_dim, dtype, scales)

    def __post_init__(self) -> None:
        """Check every setting."""
        for name in ("model_id", "model_name"):
            value = getattr(self, name)
            if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME:
                raise StoreError(
                    f"{name} must be text of 1 to {MAX_NAME} characters, not {str(value)[:80]!r}"
                )
        try:
            whole_number("dim", self.dim, 1, MAX_DIM)
            one_of("dtype", self.dtype, DTYPES)
            checked_scales(self.scales)
        except ValueError as error:
            raise StoreError(str(error)) from None

    def check_same(self, wanted: Settings, folder: Path) -> None:
        """Raise StoreError if the settings `wanted` differ from these."""
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
