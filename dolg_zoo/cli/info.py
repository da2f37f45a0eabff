"""`dolg info`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from dolg_zoo.cli.model import load_model, resolve
from dolg_zoo.cli.options import Json, PresetArgument
from dolg_zoo.cli.reporting import note, print_json, shown
from dolg_zoo.cli.tables import print_table


def info(
    preset: PresetArgument = None,
    runtimes: Annotated[
        bool,
        typer.Option(
            "--runtimes",
            help="Show the runtimes of this machine, and how fast they compute the preset.",
        ),
    ] = False,
    measure: Annotated[
        bool,
        typer.Option(
            "--measure",
            help="With --runtimes: compile the preset for each runtime and time them again. The"
            " fastest becomes the default for it.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Show a preset: its architecture, preprocessing, origin and published figures.

    The preset is downloaded if necessary, and its files are verified. If it cannot be downloaded,
    the entry of the weights manifest is shown.

    \b
    Examples:
      dolg info dolg_efficientnet_lite_b0_places_products
      dolg info dolg_resnet50_gldv2
      dolg info --runtimes --measure
    """
    if measure and not runtimes:
        raise typer.BadParameter("--measure is for --runtimes")
    if runtimes:
        _print_runtimes(preset, measure, as_json)
        return
    from dolg_zoo.errors import DownloadError
    from dolg_zoo.presets.description import preset_facts
    from dolg_zoo.weights import load_manifest

    try:
        facts = preset_facts(resolve(preset))
    except DownloadError:
        entry = load_manifest().entries.get(str(preset))
        if entry is not None and not as_json:
            facts = entry.metadata()
            print_table(_origin_rows(facts))
            _print_figures(facts)
        raise
    if as_json:
        print_json(facts)
        return
    print_table((*_rows(facts), *_origin_rows(facts)))
    _print_figures(facts)
    for name, sha256 in sorted(facts["sha256"].items()):
        print(f"{shown(sha256)}  {shown(name)}")  # the format of sha256sum


def _print_runtimes(preset: str | None, measure: bool, as_json: bool) -> None:
    from dolg_zoo.embedders.compiled import known_model_id
    from dolg_zoo.runtimes import why_default
    from dolg_zoo.runtimes.measured import measure_runtimes, remembered_speeds
    from dolg_zoo.runtimes.registry import describe_runtimes

    model_id: str | None
    if measure:
        model = load_model(preset)
        speeds, model_id = measure_runtimes(model, note), model.model_id
    else:
        model_id = known_model_id(resolve(preset))
        speeds = remembered_speeds(model_id)
    described = describe_runtimes()
    name, why = why_default(model_id=model_id)
    if as_json:
        print_json(
            {"default": name, "why": why, "runtimes": described, "images_per_second": speeds}
        )
        return
    print_table(
        (
            (
                runtime["name"],
                runtime["version"] or "-",
                f"{speeds[runtime['name']]:.3g}" if runtime["name"] in speeds else "-",
                # a missing package prevents every precision: print it once
                [*dict.fromkeys(fault or name for name, fault in runtime["precisions"].items())],
            )
            for runtime in described
        ),
        header=("Runtime", "Version", "Images/s", "Precisions"),
    )
    print(f"The default is {name}: {why}.")


def _print_figures(facts: dict[str, Any]) -> None:
    from dolg_zoo._util.text import figure_in_percent

    if facts["figures"]:
        print_table(
            (
                [
                    *figure_in_percent(figure["value"], figure["metric"]),
                    figure["dataset"],
                    [figure["source"], *filter(None, [figure["note"]])],
                ]
                for figure in facts["figures"]
            ),
            header=("Figure", "Metric", "Measured on", "Source"),
        )
        print(shown(facts["figures_note"]))


def _rows(facts: dict[str, Any]) -> Iterator[tuple[str, object]]:
    from dolg_zoo.models import DOLGConfig
    from dolg_zoo.preprocessing import ImageConverter
    from dolg_zoo.presets.description import head_in_words, preprocessing_in_words

    config = DOLGConfig.from_dict(facts["architecture"])
    yield "Preset", facts["preset"]
    yield "Backbone", config.backbone or f"its own, of {facts['backbone_layers']} layers"
    yield "Taps", ", ".join(config.taps)
    yield from head_in_words(config)
    yield "Parameters", f"{facts['parameters']:,}"
    yield "On disk", f"{facts['bytes'] / 2**20:.1f} MiB"
    yield from preprocessing_in_words(ImageConverter.from_config(facts["input"]))
    if facts["margin_head"]:
        yield "Margin head", "saved with its class centers: load_margin_head() in Python"


def _origin_rows(facts: dict[str, Any]) -> Iterator[tuple[str, object]]:
    if facts["description"]:
        yield "What it is", facts["description"]
    if facts["source"]:
        source = facts["source"]
        yield (
            "Made from",
            f"{source['path']} of {source['repo']} at {source['revision']},"
            f" sha256 {source['sha256']}",
        )
    yield "Trained on", facts["dataset"] or "not stated"
    yield "License", [facts["license"] or "not stated", *filter(None, [facts["license_note"]])]
    yield "Provenance", facts["provenance"] or "not stated"
    if facts.get("limits"):
        yield "Limits", facts["limits"]
