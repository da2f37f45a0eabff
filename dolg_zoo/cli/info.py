"""`dolg info`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dolg_zoo.cli.model import load_model
from dolg_zoo.cli.options import Json
from dolg_zoo.cli.outputs import shown
from dolg_zoo.cli.reporting import print_json
from dolg_zoo.cli.tables import print_table

if TYPE_CHECKING:
    from dolg_zoo.dolg import DOLG


def info(
    preset: Annotated[
        str | None,
        typer.Argument(
            metavar="PRESET",
            help="A name, hf://user/repo or a folder; if not given, the preset that ships.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what a preset is, where it comes from and how good it is said to be.

    It is loaded, and downloaded if need be, so that what is shown is true of it.

    \b
    Examples:
      dolg info dolg_efficientnet_lite_b0_imagenet
      dolg info dolg_resnet50_gldv2
    """
    facts = _facts(load_model(preset))
    if as_json:
        print_json(facts)
        return
    print_table(_rows(facts))
    if facts["figures"]:
        print_table(
            ((figure["value"], figure["what"], figure["source"]) for figure in facts["figures"]),
            header=("Figure", "Of what", "Source"),
        )
        print(shown(facts["figures_note"]))
    for name, sha256 in sorted(facts["sha256"].items()):
        print(f"{shown(sha256)}  {shown(name)}")  # as sha256sum prints and checks them


def _facts(model: DOLG) -> dict[str, Any]:
    from dataclasses import asdict

    from dolg_zoo.presets import locate_preset
    from dolg_zoo.weights import load_manifest
    from dolg_zoo.weights.manifest import PRESET_FILES

    metadata = model.metadata
    entry = load_manifest().entries.get(metadata["preset"])
    files = getattr(entry, "files", {})  # a converted preset's are this machine's own
    folder = locate_preset(metadata["preset"]).folder
    return {
        "preset": metadata["preset"],
        "description": entry.description if entry else "",
        "architecture": model.net.config.to_dict(),
        "backbone_layers": len(model.net.backbone.layers),
        "parameters": model.count_params(),
        "bytes": sum((folder / name).stat().st_size for name in PRESET_FILES),
        "input": model.image_converter.to_config(),
        "license": entry.license if entry else metadata.get("license", ""),
        "provenance": entry.provenance if entry else metadata.get("provenance", ""),
        "limits": metadata.get("limits", ""),
        "source": asdict(entry.file) if hasattr(entry, "file") else None,
        "figures": [asdict(figure) for figure in entry.figures] if entry else [],
        "figures_note": entry.figures_note if entry else "",
        "sha256": {name: file.sha256 for name, file in files.items()} or metadata.get("sha256", {}),
    }


def _rows(facts: dict[str, Any]) -> Iterator[tuple[str, object]]:
    dolg, converter = facts["architecture"], facts["input"]
    dilations = ", ".join(map(str, dolg["dilation_rates"])) or "none"
    size = {
        "original": "the image's own size",
        "max_side": f"the image's own size up to {converter['size']} pixels",
    }.get(converter["mode"], f"{converter['mode'].replace('_', ' ')} to {converter['size']} pixels")
    yield "preset", facts["preset"]
    yield "what it is", facts["description"]
    yield "backbone", dolg["backbone"] or f"its own, of {facts['backbone_layers']} layers"
    yield "taps", ", ".join(dolg["taps"])
    yield (
        "head",
        f"dilations {dilations}; {dolg['hidden_dim']} channels, {dolg['attention_channels']} of"
        f" attention; GeM from p = {dolg['gem_p']:g} ({dolg['gem_power']})",
    )
    yield "descriptor", f"{dolg['descriptor_dim']} dimensions"
    yield "parameters", f"{facts['parameters']:,}"
    yield "on disk", f"{facts['bytes'] / 2**20:.1f} MiB"
    multiples = f", sides in multiples of {step}" if (step := converter["multiple_of"]) > 1 else ""
    yield (
        "input",
        f"RGB, {size}{multiples},"
        f" {converter['interpolation']}{'' if converter['antialias'] else ' without antialias'}",
    )
    yield "scales", ", ".join(f"{scale:g}" for scale in converter["scales"])
    if converter["crop_queries"]:
        yield "queries", "cropped to the box of what is sought, for the published figures"
    if facts["source"]:
        source = facts["source"]
        yield (
            "made from",
            f"{source['path']} of {source['repo']} at {source['revision']},"
            f" sha256 {source['sha256']}",
        )
    for key in ("license", "provenance", "limits"):
        yield key, facts[key] or "not stated"
