"""What can go wrong with a preset."""


class PresetError(ValueError):
    """A preset that does not exist, or whose files are not what a preset's files must be."""
