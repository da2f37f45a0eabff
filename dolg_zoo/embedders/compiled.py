"""A model that was compiled for a runtime and computes descriptors without Keras."""

from __future__ import annotations

import hashlib
import logging
import pickle
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dolg_zoo._util.forked import check_not_forked
from dolg_zoo._util.hashing import sha256_of
from dolg_zoo._util.imports import import_fault
from dolg_zoo.embedders.base import ImageEmbedder
from dolg_zoo.embedders.fingerprint import name_of_model
from dolg_zoo.errors import CompilationError
from dolg_zoo.preprocessing import ImageConverter, ImageSource
from dolg_zoo.presets.origins import ResolvedPreset
from dolg_zoo.presets.registry import hashes_of, resolve_preset
from dolg_zoo.runtimes import routes, untimed
from dolg_zoo.runtimes.cache import (
    compiled_folder,
    read_compiled,
    remember_fault,
    remember_preset,
    remembered_fault,
    remembered_model,
    write_compiled,
)
from dolg_zoo.runtimes.compile import Infer, check, cosines, describe, freeze, load
from dolg_zoo.runtimes.measured import FIRST_TURN, FIRST_TURNS, measure_runtimes
from dolg_zoo.runtimes.quantization import calibration_images, quantize
from dolg_zoo.runtimes.registry import RUNTIMES
from dolg_zoo.runtimes.servable import servable
from dolg_zoo.runtimes.templates import find_template
from dolg_zoo.shipped_photos import shipped_photos

if TYPE_CHECKING:
    from dolg_zoo.runtimes.embedding_model import EmbeddingModel

logger = logging.getLogger(__name__)


_LoadArguments = tuple[str, str, str, int | None]
"""The arguments of `load_compiled`."""


class CompiledDOLG(ImageEmbedder):
    """A `DOLG` that was compiled for a runtime. It embeds images and cannot be trained.

    `DOLG.compile_for_inference` returns it. In "float32" its descriptors differ from those of the
    model by at most 1e-4 in norm, and both may be compared. In another precision it has another
    `model_id`.

    Attributes:
        runtime: a name in `dolg_zoo.runtimes.RUNTIMES`.
        precision: "float32", "bfloat16" or "int8".
        record: settings and measurements of the compilation.
    """

    def __init__(
        self, infer: Infer, record: Mapping[str, Any], kept: _LoadArguments | None = None
    ) -> None:
        self._compute = infer
        self._arguments = kept
        self.record = dict(record)
        self.runtime: str = record["runtime"]
        self.precision: str = record["precision"]
        self.image_converter = ImageConverter.from_config(record["image_converter"])
        self.descriptor_dim: int = record["descriptor_dim"]
        self.metadata: dict[str, Any] = dict(record["metadata"])
        self.model_id: str = record["model_id"]

    def __repr__(self) -> str:
        return (
            f"<CompiledDOLG of {name_of_model(self)}: {self.runtime}, {self.precision},"
            f" {self.descriptor_dim} dimensions>"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Let `pickle` send the arguments with which another process loads the files."""
        if self._arguments is None or load_compiled(*self._arguments) is None:
            preset = self.metadata.get("preset", "…")
            raise pickle.PicklingError(
                f"A model with the runtime {self.runtime} cannot be sent; in the other process,"
                f" load it with DOLG.from_preset({preset!r}).compile_for_inference("
                f"{self.runtime!r}, {self.precision!r})."
            )
        return _load_sent, (*self._arguments, self.model_id, self.metadata)

    @classmethod
    def cached(
        cls,
        preset: str | Path | ResolvedPreset | None = None,
        runtime: str | None = None,
        precision: str = "float32",
        threads: int | None = None,
    ) -> CompiledDOLG | None:
        """Load a compiled preset without Keras; None if it was not compiled before.

        The preset that ships with dolg-zoo needs no compilation for LiteRT in float32.

        Args:
            preset: a name, hf://user/repo, or a folder; None for the default.
            runtime: a name in `dolg_zoo.runtimes.RUNTIMES`; None for the default.
            precision: "float32", "bfloat16" or "int8".
            threads: number of threads; None for one per core.

        Raises:
            PresetError: as `DOLG.from_preset`.
            WeightsError: as `DOLG.from_preset`.
            RuntimeMissingError: if the runtime cannot be used on this machine.
        """
        if routes(runtime, precision) == ["keras"]:
            return None
        resolved = resolve_preset(preset)
        model_id = known_model_id(resolved)
        if model_id is None or untimed(runtime, precision, model_id):
            return None
        names = routes(runtime, precision, model_id)
        # compilation recorded the runtimes that cannot compute the model
        capable = [name for name in names if not remembered_fault(model_id, name, precision)]
        name = capable[0] if len(names) > 1 and capable else names[0]
        loaded = None if name == "keras" else load_compiled(model_id, name, precision, threads)
        if loaded:  # a copy of a preset may have another name
            loaded.metadata["preset"] = resolved.name
        return loaded

    def infer(self, images: np.ndarray) -> np.ndarray:
        """See `ImageEmbedder.infer`."""
        if self.runtime == "keras":
            check_not_forked()
        return self._compute(images)

    def routed(
        self,
        runtime: str | None = None,
        precision: str | None = None,
        calibration: Sequence[ImageSource] | None = None,
    ) -> CompiledDOLG:
        """Return this model.

        Raises:
            ValueError: if it has another runtime or precision.
        """
        if runtime not in (None, self.runtime) or precision not in (None, self.precision):
            raise ValueError(
                f"This model is compiled for {self.runtime} in {self.precision}, not for"
                f" {runtime or self.runtime} in {precision or self.precision}; compile another"
                " from DOLG.from_preset(…)."
            )
        return self


class _Loaded:
    """Computes descriptors with files that are loaded for the first image."""

    def __init__(self, load_files: Callable[[], Infer]) -> None:
        self._load = load_files
        self._infer: Infer | None = None
        self._once = threading.Lock()

    def __call__(self, images: np.ndarray) -> np.ndarray:
        with self._once:
            if self._infer is None:
                self._infer = self._load()
        return self._infer(images)


def known_model_id(resolved: ResolvedPreset) -> str | None:
    """Return the `model_id` of a preset without Keras; None if it was not compiled before."""
    if model_id := remembered_model(hashes_of(resolved)):
        return model_id
    template = find_template("litert-float32", resolved.name)
    return template.record["model_id"] if template else None


def load_compiled(
    model_id: str, runtime: str, precision: str, threads: int | None = None
) -> CompiledDOLG | None:
    """Return the compiled model from the cache or a template; None if missing or damaged."""
    arguments = model_id, runtime, precision, threads
    folder = compiled_folder(model_id, runtime, precision)
    record = None if folder is None else read_compiled(folder, runtime)
    if folder is not None and record is not None:
        # loaded late: `dolg map` and `dolg dedupe` with cached descriptors need only the record
        files = _Loaded(partial(load, folder, runtime, precision, threads))
        return CompiledDOLG(files, record, arguments)
    template = find_template(f"{runtime}-{precision}", model_id=model_id)
    return None if template is None else _written(template.record, template.write, threads)


def _load_sent(
    base_id: str,
    runtime: str,
    precision: str,
    threads: int | None,
    model_id: str,
    metadata: dict[str, Any],
) -> CompiledDOLG:
    """Return the model that another process sent."""
    loaded = load_compiled(base_id, runtime, precision, threads)
    if loaded is None or loaded.model_id != model_id:
        raise CompilationError(
            f"The model {metadata.get('preset')!r} is not in the cache of this process. Load it"
            f" with DOLG.from_preset(…).compile_for_inference({runtime!r}, {precision!r}), or give"
            " both processes the same DOLG_ZOO_CACHE."
        )
    loaded.metadata = metadata
    return loaded


def compile_model(
    model: EmbeddingModel,
    runtime: str | None = None,
    precision: str = "float32",
    calibration: Sequence[ImageSource] | None = None,
    threads: int | None = None,
) -> CompiledDOLG:
    """See `DOLG.compile_for_inference`."""
    names = routes(runtime, precision)
    is_mixed = precision == "float32" and model.dtype_policy.compute_dtype != "float32"
    if len(names) > 1:
        # other runtimes round differently from a mixed model; a comparison would take a minute
        names = ["keras"] if is_mixed else _usable_runtimes(model, precision)
    for name, following in zip(names, [*names[1:], None], strict=True):
        try:
            return _compiled(model, name, precision, calibration, threads)
        except CompilationError as error:
            if following is None:
                raise
            remember_fault(model.model_id, name, precision, str(error))
            logger.warning(
                "%s cannot compute this model: %s. %s is used instead.", name, error, following
            )
    raise AssertionError("there is always a route")


def _usable_runtimes(model: EmbeddingModel, precision: str) -> list[str]:
    """Return the runtimes not known to fail for a model, fastest first; time them if needed."""
    model_id = model.model_id
    if contenders := untimed(precision=precision, model_id=model_id):
        logger.warning(
            "This model is compiled once for each of %s, and they are timed; the fastest is used"
            " from now on.",
            ", ".join(contenders),
        )
        measure_runtimes(model, logger.info, contenders, FIRST_TURNS, FIRST_TURN)
    names = routes(precision=precision, model_id=model_id)
    return [name for name in names if not remembered_fault(model_id, name, precision)] or names


def _compiled(
    model: EmbeddingModel,
    runtime: str,
    precision: str,
    calibration: Sequence[ImageSource] | None,
    threads: int | None,
) -> CompiledDOLG:
    record: dict[str, Any] = {
        "runtime": runtime,
        "precision": precision,
        "image_converter": model.image_converter.to_config(),
        "descriptor_dim": model.descriptor_dim,
        "metadata": model.metadata,
        "model_id": model.model_id,
    }
    if runtime == "keras":
        return CompiledDOLG(freeze(model.traced), record)
    compiled = load_compiled(record["model_id"], runtime, precision, threads)
    if compiled is None:
        logger.info("Compiling for %s in %s, once", runtime, precision)
        compiled = _compile(model, record, calibration, threads)
    compiled.metadata = dict(model.metadata)  # models with the same weights may have several names
    return compiled


def _compile(
    model: EmbeddingModel,
    record: dict[str, Any],
    calibration: Sequence[ImageSource] | None,
    threads: int | None,
) -> CompiledDOLG:
    """Compile, cache the files if possible, and load them."""
    runtime, precision = record["runtime"], record["precision"]

    def write(folder: Path) -> None:
        record.update(_write(model, folder, runtime, precision, calibration))

    return _written(record, write, threads)


def _written(
    record: dict[str, Any], write: Callable[[Path], None], threads: int | None
) -> CompiledDOLG:
    """Write the files, to the cache if possible, and load them."""
    runtime, precision = record["runtime"], record["precision"]
    arguments = record["model_id"], runtime, precision, threads
    folder = compiled_folder(record["model_id"], runtime, precision)
    try:
        if folder is None:
            raise OSError("there is no home folder")
        write_compiled(folder, runtime, record, write)
        return CompiledDOLG(load(folder, runtime, precision, threads), record, arguments)
    except OSError as error:
        logger.warning(
            "The model is compiled again in each process, since the cache cannot be written: %s."
            " Set DOLG_ZOO_CACHE to another folder.",
            error,
        )
    with tempfile.TemporaryDirectory(prefix="dolg-zoo-") as scratch:
        write(Path(scratch))
        return CompiledDOLG(load(Path(scratch), runtime, precision, threads), record, arguments)


def _write(
    model: EmbeddingModel,
    folder: Path,
    runtime: str,
    precision: str,
    calibration: Sequence[ImageSource] | None,
) -> dict[str, Any]:
    """Write the files, and return their record."""
    code = RUNTIMES[runtime].code
    images = None
    if precision == "int8":  # a missing calibration fails before the work
        images = calibration_images(model.image_converter, calibration)
    served = servable(model)
    try:
        code.write(served, folder)
        plain = load(folder, runtime, "float32")
    except (OSError, MemoryError):
        raise
    except Exception as error:  # converters raise errors of their own types
        reason = import_fault(error) or str(error).strip()[:300]
        raise CompilationError(f"it cannot be converted: {reason}") from error
    distance = check(plain, model.infer, model)
    if precision == "float32":
        return {"distance": distance}
    if images is None:
        images = calibration_images(model.image_converter, calibration or shipped_photos())
    before = describe(plain, images)
    del plain
    if precision == "int8":
        quantize(served, folder, runtime, images)
    changed = cosines(before, describe(load(folder, runtime, precision), images))
    digest = hashlib.sha256(f"{model.model_id} {runtime} {precision}".encode())
    for name in code.FILES:
        digest.update(sha256_of(folder / name).encode())
    return {"model_id": digest.hexdigest()[:32], "cosine_to_float32": changed}


def remember_compiled(model: EmbeddingModel, preset: ResolvedPreset) -> None:
    """Record the hashes of a preset, by which `CompiledDOLG.cached` finds its compiled form."""
    remember_preset(hashes_of(preset), model.model_id)
