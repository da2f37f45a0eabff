"""What can go wrong between a weight's name and its bytes."""


class WeightsError(Exception):
    """Base of the errors of this package."""


class ManifestError(WeightsError, ValueError):
    """The list of weights is not well formed."""


class DownloadError(WeightsError):
    """A file could be had neither from the Hub nor from the cache."""


class UnreachableError(DownloadError):
    """The Hub gave no answer, or none that says anything of the file.

    Attributes:
        reason: what was in the way; None if the user has forbidden to ask.
    """

    def __init__(self, reason: str | None, message: str) -> None:
        self.reason = reason
        super().__init__(message)


class ChecksumError(WeightsError):
    """A file's bytes are not those that were promised."""


class CheckpointError(WeightsError, ValueError):
    """A checkpoint file cannot be read safely."""
