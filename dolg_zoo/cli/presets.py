"""`dolg presets`."""

from __future__ import annotations

from dolg_zoo.cli.options import Json
from dolg_zoo.cli.reporting import print_json
from dolg_zoo.cli.tables import print_table


def presets(as_json: Json = False) -> None:
    """List the presets that can be asked for by name.

    \b
    Example:
      dolg presets
    """
    from dolg_zoo.weights import load_manifest

    entries = load_manifest().presets.values()
    if as_json:
        print_json(
            [
                {
                    "name": entry.name,
                    "description": entry.description,
                    "architecture": entry.architecture,
                    "license": entry.license,
                    "bytes": sum(file.size for file in entry.files.values()),
                    "repo": entry.source and entry.source.repo,
                    "revision": entry.source and entry.source.revision,
                }
                for entry in entries
            ]
        )
        return
    print_table(
        (
            (
                entry.name,
                f"{sum(file.size for file in entry.files.values()) / 2**20:.0f} MiB",
                entry.license,
                entry.description,
            )
            for entry in entries
        ),
        header=("Preset", "Size", "Licence", "What it is"),
    )
