"""All errors that a user can meet; `except DOLGZooError` catches them all."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "BadImageError",
    "BadImagesError",
    "CheckpointError",
    "ChecksumError",
    "CompilationError",
    "DOLGZooError",
    "DataError",
    "DependencyError",
    "DivergedError",
    "DownloadError",
    "ExportError",
    "ExtraMissingError",
    "ForkedProcessError",
    "GroundTruthError",
    "ImagesAwayError",
    "ManifestError",
    "OutputError",
    "PortingError",
    "PresetError",
    "PublishError",
    "RayError",
    "RuntimeMissingError",
    "StoreError",
    "TrainingConfigError",
    "UnreachableError",
    "WeightsError",
    "WorkerLostError",
]


class DOLGZooError(Exception):
    """Base class of the errors of dolg-zoo."""

    def __reduce__(self) -> tuple[object, ...]:
        # Exception's method passes only the message, but some classes take more arguments
        return _sent, (type(self), self.args, self.__dict__)


def _sent(kind: type[DOLGZooError], args: tuple[object, ...], state: dict[str, object]) -> object:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class OutputError(DOLGZooError, FileExistsError):
    """The output would overwrite an input, or a file that dolg-zoo did not write."""


# images


class BadImageError(DOLGZooError, ValueError):
    """An image cannot be used.

    Attributes:
        source: the path as text, or a description of the PIL image or array.
        reason: the fault of the image, in words.
    """

    def __init__(self, source: str, reason: str) -> None:
        super().__init__(source, reason)
        self.source = source
        self.reason = reason

    def __str__(self) -> str:
        """Return both parts in one line."""
        # repr keeps letters of any script and escapes line breaks, so one error is one line.
        # a longer text is no path, but perhaps an encoded image
        source = self.source if len(self.source) <= 4096 else f"{self.source[:60]}…"
        return f"bad image {source!r}: {self.reason}"


class BadImagesError(DOLGZooError, ValueError):
    """Some images could not be embedded.

    Attributes:
        skipped: index of each image that was skipped, and its error.
        kept: indices of the images that were embedded, ascending.
        descriptors: (len(kept), dim) float32, in the order of `kept`.
    """

    def __init__(
        self, skipped: dict[int, BadImageError], kept: list[int], descriptors: np.ndarray
    ) -> None:
        self.skipped = skipped
        self.kept = kept
        self.descriptors = descriptors
        lines = "\n".join(f"  {error}" for error in skipped.values())
        super().__init__(
            f"{len(skipped)} of {len(skipped) + len(kept)} images could not be embedded:\n{lines}"
            + (
                "\nThe descriptors of the others are in this error's `descriptors`, their indices"
                " in `kept`."
                if kept
                else ""
            )
        )


class DataError(DOLGZooError, ValueError):
    """A data set or a list of images cannot be used, for instance because of a faulty line."""


# weights and presets


class WeightsError(DOLGZooError):
    """Base class of the errors of weight files: the manifest, downloads, checkpoints."""


class ManifestError(WeightsError, ValueError):
    """The weights manifest is not well formed."""


class DownloadError(WeightsError):
    """A file is neither on the Hub nor in the cache."""


class UnreachableError(DownloadError):
    """The Hub gave no answer, or an answer that does not describe the file.

    Attributes:
        reason: why there was no answer; None if the user has forbidden requests.
    """

    def __init__(self, reason: str | None, message: str) -> None:
        self.reason = reason
        super().__init__(message)


class ChecksumError(WeightsError):
    """The sha256 or the size of a file differs from the expected one."""


class CheckpointError(WeightsError, ValueError):
    """A checkpoint file cannot be read safely."""


class PortingError(DOLGZooError, ValueError):
    """A checkpoint and a network do not have the same tensors."""


class PresetError(DOLGZooError, ValueError):
    """A preset does not exist, or its files are not valid."""


class PublishError(DOLGZooError):
    """A preset was not published, or not completely; the message says which."""


# computing


class RuntimeMissingError(DOLGZooError, ValueError):
    """A runtime is not installed, or does not support the precision on this machine."""


class DependencyError(DOLGZooError, ImportError):
    """A package that dolg-zoo needs cannot be imported; the message names it and the remedy."""


class ExtraMissingError(DOLGZooError, ImportError):
    """A package of an extra is not installed; the message names the extra."""


class CompilationError(DOLGZooError, RuntimeError):
    """A compiled model does not compute the descriptors of the original."""


class ForkedProcessError(DOLGZooError, RuntimeError):
    """The parent of this process uses TensorFlow, which therefore cannot compute here."""


class ExportError(DOLGZooError, ValueError):
    """A model cannot be exported this way, or the exported file is not accurate enough."""


class RayError(DOLGZooError, RuntimeError):
    """The Ray cluster cannot be used, or its workers fail repeatedly."""


# descriptors and evaluation


class StoreError(DOLGZooError, ValueError):
    """A descriptor store is damaged, or does not accept the given descriptors."""


class ImagesAwayError(DOLGZooError, OSError):
    """Images are missing, perhaps only for a while; nothing was removed."""


class GroundTruthError(DOLGZooError, ValueError):
    """A ground truth file is not valid."""


# training


class TrainingConfigError(DOLGZooError, ValueError):
    """A setting of a training run is not valid."""


class DivergedError(DOLGZooError, ArithmeticError):
    """The loss or a weight is not finite any more."""


class WorkerLostError(DOLGZooError, RuntimeError):
    """Another worker of the training run has stopped."""
