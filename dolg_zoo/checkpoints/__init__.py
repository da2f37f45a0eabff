"""Weights of other projects: files read safely, their names mapped to ours."""
