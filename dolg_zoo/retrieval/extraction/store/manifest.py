"""`store.json`: the settings of a store and its parts. Every value in it is checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dolg_zoo._util.arguments import check_fields, one_of, stated, text, whole_number
from dolg_zoo._util.hashing import is_sha256
from dolg_zoo._util.own_folders import PART_NAME, STORE
from dolg_zoo._util.records import read_record, write_record
from dolg_zoo.embedders.fingerprint import name_of_model
from dolg_zoo.errors import StoreError
from dolg_zoo.preprocessing.scales import checked_scales

if TYPE_CHECKING:
    from dolg_zoo.embedders.base import ImageEmbedder

(MANIFEST,) = STORE.signs
FORMAT_VERSION = 2
READABLE = (1, FORMAT_VERSION)
MAX_DIM = 2**16
MAX_NAME = 1000
DTYPES = ("float32", "float16")


@dataclass(frozen=True)
class Settings:
    """The model and the format of a store's descriptors; StoreError if a value is invalid."""

    model_id: str = stated(text, most=MAX_NAME)  # `fingerprint` of the model
    model_name: str = stated(text, most=MAX_NAME)  # for messages
    dim: int = stated(whole_number, least=1, most=MAX_DIM)  # of a descriptor
    dtype: str = stated(one_of, known=DTYPES)
    scales: tuple[float, ...] = stated(lambda _, value: checked_scales(value))

    @classmethod
    def of(
        cls, model: ImageEmbedder, scales: Sequence[float] | None, dtype: str = "float32"
    ) -> Settings:
        """Return the settings for a model's descriptors; `scales` None: the model's scales."""
        scales = model.image_converter.scales_or_own(scales)
        return cls(model.model_id, name_of_model(model), model.descriptor_dim, dtype, scales)

    def __post_init__(self) -> None:
        """Check every setting."""
        try:
            check_fields(self)
        except ValueError as error:
            raise StoreError(str(error)) from None

    def check_same(self, requested: Settings, folder: Path) -> None:
        """Raise StoreError if the requested settings differ from the settings in the folder."""
        differences = [
            f"{name} {_shown(self, name)} there, {_shown(requested, name)} here"
            for name in ("model_id", "dim", "dtype", "scales")
            if getattr(self, name) != getattr(requested, name)
        ]
        if differences:
            raise StoreError(
                f"The descriptors in {str(folder)!r} have other settings: {'; '.join(differences)}."
                " Give the same settings, or another folder."
            )


def _shown(settings: Settings, name: str) -> str:
    if name == "model_id":
        return f"{settings.model_id} ({settings.model_name!r})"
    if name == "scales":
        return ", ".join(f"{scale:g}" for scale in settings.scales)
    return str(getattr(settings, name))


@dataclass(frozen=True)
class Part:
    """A file of a store: name, number of rows, size, sha256 and, if recorded, images' folder."""

    file: str
    rows: int
    bytes: int
    sha256: str
    images: str | None = None


def next_name(parts: Sequence[Part]) -> str:
    """Return a file name that no part has."""
    matches = (PART_NAME.fullmatch(part.file) for part in parts)
    numbers = [int(match[1]) for match in matches if match]
    return f"part-{max(numbers, default=-1) + 1:06d}.parquet"


def write_manifest(folder: Path, settings: Settings, parts: Sequence[Part]) -> None:
    """Replace `store.json`; after an OSError the old file stays."""
    document = {
        "format_version": FORMAT_VERSION,
        **asdict(settings),
        "parts": [
            {key: value for key, value in asdict(part).items() if value is not None}
            for part in parts
        ],
    }
    write_record(folder / MANIFEST, document)


def read_manifest(folder: Path) -> tuple[Settings, list[Part]]:
    """Read `store.json`; raise StoreError with the reason if it is invalid."""
    path = folder / MANIFEST
    try:
        document = read_record(path, *READABLE)
        listed = document.pop("parts", None)
        if not isinstance(listed, list):
            raise ValueError(f"parts must be a list, not {str(listed)[:80]!r}")
        if isinstance(document.get("scales"), list):
            document["scales"] = tuple(document["scales"])
        settings = Settings(**document)
        parts = [_checked(entry, settings) for entry in listed]
        if len({part.file for part in parts}) < len(parts):
            raise ValueError("a part is named twice")
    except (ValueError, TypeError) as error:
        raise StoreError(f"{str(path)!r} is no description of a store: {error}.") from error
    return settings, parts


def _checked(entry: object, settings: Settings) -> Part:
    part = Part(**entry) if isinstance(entry, dict) else None
    if (
        part is None
        or not (isinstance(part.file, str) and PART_NAME.fullmatch(part.file))
        or type(part.rows) is not int
        or type(part.bytes) is not int
        or not is_sha256(part.sha256)
        or not isinstance(part.images, str | None)
        # A part is not compressed: a small file cannot state more rows than it holds.
        or not 0 < part.rows * settings.dim * np.dtype(settings.dtype).itemsize < part.bytes
    ):
        raise ValueError(f"{str(entry)[:200]} describes no part")
    return part
