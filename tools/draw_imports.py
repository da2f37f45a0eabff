"""Draws which packages of dolg_zoo import which, in the rows that import-linter keeps them in.

python tools/draw_imports.py imports.svg
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

from matplotlib.figure import Figure

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "dolg_zoo"
WIDTH, ROW = 13.0, 0.95  # inches
BOX, INK, ARROW = "#dbe7f3", "#1b1f24", "#8c959f"


def layers() -> list[list[str]]:
    """Names of packages, a list for each row, the highest first."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    (contract,) = (each for each in contracts if each["type"] == "layers")
    return [
        [name.strip().removeprefix(f"{PACKAGE}.") for name in row.split("|")]
        for row in contract["layers"]
    ]


def imports() -> dict[str, set[str]]:
    """The packages that each package imports, for type annotations too."""
    found: dict[str, set[str]] = {}
    for file in sorted((ROOT / PACKAGE).rglob("*.py")):
        room = file.relative_to(ROOT / PACKAGE).with_suffix("").parts[0]
        if room == "__init__":
            continue
        others = found.setdefault(room, set())
        for module in imported_modules(file):
            parts = module.split(".")
            if parts[0] == PACKAGE and len(parts) > 1 and parts[1] != room:
                others.add(parts[1])
    return {room: others & found.keys() for room, others in found.items()}


def imported_modules(file: Path) -> Iterator[str]:
    """Absolute names of the modules that a file imports."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def without_shortcuts(arrows: dict[str, set[str]]) -> dict[str, set[str]]:
    """Leaves out the arrows whose end is also reached by several others."""

    def reached(room: str) -> set[str]:
        return arrows[room].union(*map(reached, arrows[room]))

    return {
        room: others - set().union(*map(reached, others)) if others else others
        for room, others in arrows.items()
    }


def draw() -> Figure:
    """A box for each package, and arrows to those that it imports, without shortcuts."""
    rows, arrows = layers(), without_shortcuts(imports())
    figure = Figure(figsize=(WIDTH, ROW * len(rows)), layout="constrained")
    panel = figure.add_subplot()
    panel.set_axis_off()
    panel.set_xlim(0, 1)
    panel.set_ylim(len(rows) - 0.5, -0.5)
    centres = {
        room: ((column + 0.5 + 0.18 * (-1) ** number) / len(row), number)
        for number, row in enumerate(rows)
        for column, room in enumerate(row)
    }
    for room, others in arrows.items():
        for other in others & centres.keys():
            panel.annotate(
                "",
                xy=centres[other],
                xytext=centres[room],
                arrowprops={
                    "arrowstyle": "->",
                    "color": ARROW,
                    "alpha": 0.55,
                    "linewidth": 0.8,
                    "shrinkA": 12,
                    "shrinkB": 14,
                    "connectionstyle": "arc3,rad=0.06",
                },
            )
    for room, place in centres.items():
        box = {"boxstyle": "round,pad=0.5", "facecolor": BOX, "edgecolor": INK, "linewidth": 0.8}
        panel.text(*place, room, ha="center", va="center", fontsize=11, color=INK, bbox=box)
    return figure


if __name__ == "__main__":
    draw().savefig(sys.argv[1])
