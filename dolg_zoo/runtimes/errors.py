"""What can be wrong with a runtime."""


class RuntimeMissingError(ValueError):
    """A runtime is not installed, or cannot compute in that precision here."""


class CompilationError(RuntimeError):
    """What was compiled does not give the descriptors of the model."""
