"""`dolg presets`."""

from __future__ import annotations

from dolg_zoo.cli.options import Json
from dolg_zoo.cli.reporting import print_json
from dolg_zoo.cli.tables import print_table


def presets(as_json: Json = False) -> None:
    """List the presets that can be asked for by name.

    Those of GLDv2 are the official weights: their file is downloaded, verified, read without
    PyTorch and converted when one is first used.

    \b
    Example:
      dolg presets
    """
    from dolg_zoo.weights import load_manifest

    entries = load_manifest().entries.values()
    if as_json:
        print_json(
            [
                {
                    "name": entry.name,
                    "description": entry.description,
                    "architecture": entry.architecture,
                    "license": entry.license,
                    "bytes": entry.size,
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
                f"{entry.size / 2**20:.0f} MiB",
                entry.license.split(",")[0],  # the rest is for `dolg info`
                entry.description,
            )
            for entry in entries
        ),
        header=("Preset", "Size", "Licence", "What it is"),
    )
