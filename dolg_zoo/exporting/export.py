"""Export a model: write it to a temporary folder, reload and compare it, then move it."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dolg_zoo._util.files import put, scratch_folder
from dolg_zoo._util.imports import import_fault
from dolg_zoo.errors import DOLGZooError, ExportError
from dolg_zoo.exporting import saved_model
from dolg_zoo.exporting.formats import FORMATS, Plan, check_path, plan_export
from dolg_zoo.exporting.record import SAVED_MODEL, write_record
from dolg_zoo.runtimes.compile import Infer, cosines, describe, load
from dolg_zoo.runtimes.quantization import calibration_images, quantize
from dolg_zoo.runtimes.registry import RUNTIMES
from dolg_zoo.runtimes.servable import servable
from dolg_zoo.shipped_photos import shipped_photos

if TYPE_CHECKING:
    from dolg_zoo.preprocessing import ImageSource
    from dolg_zoo.runtimes.embedding_model import EmbeddingModel

logger = logging.getLogger(__name__)

TOLERANCE = 1e-5
"""Maximum distance of a float32 descriptor from the model's; both have norm 1."""

NEAR = 0.9
"""With a lower mean cosine, descriptors at another size must not be compared with the model's."""

Accept = Callable[[Infer, dict[str, Any]], dict[str, Any]]


def export_model(
    model: EmbeddingModel,
    path: str | Path,
    format: str = SAVED_MODEL,
    *,
    precision: str = "float32",
    size: tuple[int, int] | None = None,
    calibration: Sequence[ImageSource] | None = None,
    accept: Accept | None = None,
) -> dict[str, Any]:
    """See `DOLG.export`.

    Args:
        model: the model to export.
        path: the file or folder to write.
        format: a key of `FORMATS`.
        precision: "float32" or "int8".
        size: (height, width) of all images; None for any.
        calibration: images to calibrate "int8" with.
        accept: called with the reloaded export and its record, as `CompiledDOLG` takes them,
            before the export is moved to `path`. It raises an error to refuse the export; the dict
            that it returns is added to the result.
    """
    own_size = (model.input_shape[1], model.input_shape[2])
    plan = plan_export(path, format, precision, size, model.image_converter, own_size)
    images = None
    if precision == "int8":  # a missing calibration fails before the work
        images = calibration_images(plan.image_converter, calibration)
    with scratch_folder(plan.path) as scratch:
        temporary = scratch / "made"
        temporary.mkdir()
        _write(model, temporary, plan, images)
        infer = saved_model.load(temporary) if plan.format == SAVED_MODEL else None
        infer = infer or load(temporary, plan.format, plan.precision)
        facts = {
            "path": str(plan.path),
            "format": plan.format,
            "precision": plan.precision,
            "size": list(plan.size),
            **_compared(model, infer, plan),
        }
        if accept:
            facts.update(accept(infer, _record_of(model, temporary, plan)))
        del infer
        facts["bytes"] = sum(file.stat().st_size for file in temporary.rglob("*") if file.is_file())
        _put(temporary, plan)
    return facts


def _write(
    model: EmbeddingModel, folder: Path, plan: Plan, images: Sequence[np.ndarray] | None
) -> None:
    served = servable(model, plan.size)
    write = saved_model.write if plan.format == SAVED_MODEL else RUNTIMES[plan.format].code.write
    try:
        write(served, folder)
    except (DOLGZooError, OSError, MemoryError):
        raise
    except Exception as error:  # converters raise errors of their own types
        reason = import_fault(error) or str(error).strip()[:300]
        raise ExportError(f"The model cannot be converted to {plan.format}: {reason}") from error
    if plan.format != SAVED_MODEL and images is not None:
        quantize(served, folder, plan.format, images)
    known = model.metadata
    record = {
        "preset": known.get("preset") or known.get("name"),
        "license": known.get("license"),
        "sha256": known.get("sha256"),
        "model_id": model.model_id,
        "precision": plan.precision,
        "input": {"name": "images", "dtype": "uint8", "shape": [None, *plan.size, 3]},
        "output": {"name": "descriptors", "dim": model.descriptor_dim, "length": 1},
        "image_converter": plan.image_converter.to_config(),
        "made_by": f"dolg-zoo {version('dolg-zoo')}",
    }
    write_record(folder, plan.format, record)


def _compared(model: EmbeddingModel, infer: Infer, plan: Plan) -> dict[str, Any]:
    """Compare the file's descriptors of photographs with the model's."""
    photos = calibration_images(plan.image_converter, shipped_photos())
    expected, exported = describe(model.infer, photos), describe(infer, photos)
    distance = float(np.linalg.norm(exported - expected, axis=1).max())
    if plan.precision == "float32" and not distance <= TOLERANCE:  # also true of NaN
        raise ExportError(
            f"The descriptors of the export are {distance:.1e} from the model's, but the limit is"
            f" {TOLERANCE:.0e}; nothing was written."
        )
    facts: dict[str, Any] = {"distance": distance, "cosine_to_model": cosines(expected, exported)}
    if plan.image_converter == replace(model.image_converter, scales=plan.image_converter.scales):
        return facts
    own = describe(model.infer, calibration_images(model.image_converter, shipped_photos()))
    facts["cosine_to_own_resizing"] = cosines(own, exported)
    mean = facts["cosine_to_own_resizing"]["mean"]
    if mean < NEAR:
        logger.warning(
            "At %s x %s pixels the descriptors differ from those with the preset's own resizing:"
            " their cosine is %.3f on average. They must not be mixed. A larger size in multiples"
            " of 32 comes nearer.",
            *plan.size,
            mean,
        )
    return facts


def _record_of(model: EmbeddingModel, folder: Path, plan: Plan) -> dict[str, Any]:
    digest = hashlib.sha256(f"{model.model_id} {plan}".encode())
    for file in sorted(folder.rglob("*")):
        digest.update(file.read_bytes() if file.is_file() else b"")
    return {
        "runtime": plan.format,
        "precision": plan.precision,
        "image_converter": plan.image_converter.to_config(),
        "descriptor_dim": model.descriptor_dim,
        "metadata": model.metadata,
        "model_id": digest.hexdigest()[:32],
    }


def _put(temporary: Path, plan: Plan) -> None:
    check_path(plan.path, plan.format)  # again, after the work
    if plan.format == SAVED_MODEL:
        put(temporary, plan.path)
        return
    suffix = FORMATS[plan.format]
    beside = [file for file in temporary.iterdir() if file.suffix != suffix]
    if beside:  # so that no old file has new files beside it
        plan.path.unlink(missing_ok=True)
    for file in (*beside, temporary / f"model{suffix}"):
        put(file, plan.path.with_suffix(file.suffix))
