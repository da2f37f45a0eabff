"""Complete training configurations in dolg-zoo, each a TOML file with a name."""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).parent


def recipe_names() -> list[str]:
    """Return the names of the recipes, sorted."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def recipe_path(name: str) -> Path:
    """Return the file of a recipe, or raise ValueError."""
    if name not in recipe_names():
        raise ValueError(f"There is no recipe {name!r}; there are {', '.join(recipe_names())}.")
    return _FOLDER / f"{name}.toml"
