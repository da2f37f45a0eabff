"""Checkpoints of other projects: read the files safely and map their names to ours."""
