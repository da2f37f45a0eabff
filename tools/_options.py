"""Options that several tools have."""

OUTPUT = ("--output", "--out", "-o")
"""The spellings of the option that names what is written, as in `dolg`."""
