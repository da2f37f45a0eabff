"""`dolg presets`."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Annotated

import typer

from dolg_zoo.cli.options import Json
from dolg_zoo.cli.reporting import print_json
from dolg_zoo.cli.tables import print_table

if TYPE_CHECKING:
    from dolg_zoo.weights.manifest import CheckpointEntry, PresetEntry

WIDTH = 34  # of the first column, so that the table fits a terminal of 80


def presets(
    constructors: Annotated[
        bool,
        typer.Option(
            "--constructors",
            help="Instead, list the functions dolg_zoo.dolg_<backbone>(), their sizes, and the"
            " sources of their ImageNet weights.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """List the named presets.

    The GLDv2 presets have the official weights: at first use, the file is downloaded, verified,
    read without PyTorch and converted. `dolg info` shows all facts about a preset.

    \b
    Examples:
      dolg presets
      dolg presets --constructors
    """
    if constructors:
        _print_constructors(as_json)
        return
    from dolg_zoo.presets.origins import origin_of_entry
    from dolg_zoo.weights import load_manifest

    entries = load_manifest().entries.values()
    if as_json:
        print_json(
            [{**entry.to_dict(), "state": origin_of_entry(entry).state} for entry in entries]
        )
        return
    print_table(
        (
            (
                [entry.name, *_figures(entry)],
                [f"{entry.size / 2**20:.0f} MiB", entry.descriptor_dim],
                [entry.dataset, entry.license, origin_of_entry(entry).state],
            )
            for entry in entries
        ),
        header=("Preset\n  Figures", "Size\nDimension", "Trained on\nLicence\nState"),
        apart=True,
    )


def _print_constructors(as_json: bool) -> None:
    from dataclasses import asdict

    from dolg_zoo.embedders.constructor_table import SIZE, list_constructors

    entries = list_constructors()
    if as_json:
        print_json([{**asdict(entry), "bytes": entry.bytes} for entry in entries])
        return
    print_table(
        (
            (
                [entry.name, f"  {entry.imagenet or 'random weights only'}"],
                [f"{entry.parameters / 1e6:.1f} M", f"{entry.bytes / 2**20:.0f} MiB"],
                [f"{entry.multiply_adds / 1e9:.2f} G", " + ".join(map(str, entry.channels))],
                ", ".join(entry.pretrained) or "-",
            )
            for entry in entries
        ),
        header=(
            "Constructor\n  ImageNet weights",
            "Parameters\nSize",
            "Multiply-adds\nChannels",
            "Presets",
        ),
        apart=True,
    )
    print(
        f"Multiply-adds are for an image of {SIZE}×{SIZE} pixels. Channels are for the two taps, P4"
        " and P5."
    )


def _figures(entry: PresetEntry | CheckpointEntry) -> list[str]:
    from dolg_zoo._util.text import figure_in_percent

    shown_figures = entry.figures[:2]
    lines = [" ".join((*figure_in_percent(f.value, f.metric), f.dataset)) for f in shown_figures]
    if more := len(entry.figures[2:]):
        lines.append(f"+{more} more")
    return [
        part
        for line in lines
        for part in textwrap.wrap(line, WIDTH, initial_indent="  ", subsequent_indent="    ")
    ]
