"""`dolg export`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dolg_zoo.cli.model import load_model
from dolg_zoo.cli.options import MAX_LOSS, OUTPUT, Check, Json, PresetArgument
from dolg_zoo.cli.reporting import finish, note, print_json, shown
from dolg_zoo.cli.tables import print_comparisons

if TYPE_CHECKING:
    from dolg_zoo.embedders.compiled import CompiledDOLG
    from dolg_zoo.embedders.dolg import DOLG


class Sides(tuple[int, int]):
    """The value of --size: height, width."""


def _size(text: str) -> Sides:
    try:
        height, width = (int(part) for part in text.split(","))
    except ValueError:
        height = width = 0
    if min(height, width) < 1:
        raise typer.BadParameter(f"{text!r} must be HEIGHT,WIDTH in pixels: 224,224")
    return Sides((height, width))


@dataclass(frozen=True)
class Options:
    """The file to write, and the checks that it must pass."""

    format: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="savedmodel, or the runtime of the file, such as onnx, openvino or litert.",
        ),
    ] = "savedmodel"
    precision: Annotated[str, typer.Option(metavar="TYPE", help="float32 or int8.")] = "float32"
    size: Annotated[
        Sides | None,
        typer.Option(
            metavar="H,W",
            parser=_size,
            help="A fixed image size. Descriptors at another size than the preset's differ from"
            " the preset's. (default: any size, if the model allows it)",
        ),
    ] = None
    calibration: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Images to calibrate int8 with, similar to the images that you will embed.",
        ),
    ] = None
    check: Check = None
    max_loss: Annotated[
        float,
        typer.Option(
            metavar="MAP", min=0, help="With --check: write nothing if mAP falls by more than this."
        ),
    ] = MAX_LOSS
    force: Annotated[
        bool, typer.Option("--force", help="Write the file even if it fails --check.")
    ] = False


def export(
    preset: PresetArgument = None,
    *,
    output: Annotated[
        Path, typer.Option(*OUTPUT, metavar="PATH", help="The file or folder to write.")
    ],
    options: Options,
    as_json: Json = False,
) -> None:
    """Write a preset as a file for model servers: RGB images (uint8) in, descriptors out.

    The file is loaded and compared with the preset before it gets its final name. The file does not
    resize images; a record in it says how they must be resized.

    \b
    Examples:
      dolg export -o served --format savedmodel
      dolg export -o dolg.xml --format openvino --precision int8 --calibration photos/ \\
          --check places/
    """
    from dolg_zoo.evaluation.comparison import classes_in
    from dolg_zoo.exporting import plan_export
    from dolg_zoo.preprocessing import ImageConverter, list_images

    # errors that need neither the model nor its size are raised before it is loaded
    plan_export(output, options.format, options.precision, options.size, ImageConverter())
    sample = list_images(options.calibration) if options.calibration else None
    finish({}, False, sample.passed_over if sample else None)
    if options.precision == "int8" and not sample:
        raise typer.BadParameter("int8 needs images to calibrate with: --calibration DIR")
    for folder in options.check or ():
        classes_in(folder)
    model = load_model(preset)
    facts = model.export(
        output,
        options.format,
        precision=options.precision,
        size=options.size,
        calibration=sample,
        accept=lambda made: {"checks": _compared(model, made, options)},
    )
    assert facts is not None  # None only with Keras's own arguments
    if as_json:
        print_json(facts)
    else:
        _print(facts, output)


def _print(facts: Mapping[str, Any], output: Path) -> None:
    cosine = facts["cosine_to_model"]
    size = facts["bytes"] / 2**20
    print(f"{shown(output)}: {facts['format']}, {facts['precision']}, {size:.1f} MiB")
    sides = [side or "any" for side in facts["size"]]
    at = "" if "any" in sides else f", at {sides[0]} x {sides[1]} pixels"
    mean, lowest = cosine["mean"], cosine["lowest"]
    print(f"cosine to the preset  {mean:.6f} on average, {lowest:.6f} at worst{at}")
    if other := facts.get("cosine_to_own_resizing"):
        print(
            f"as it resizes images itself  {other['mean']:.6f} on average,"
            f" {other['lowest']:.6f} at worst"
        )
    print_comparisons(facts["checks"])


def _compared(model: DOLG, exported: CompiledDOLG, options: Options) -> list[dict[str, Any]]:
    from dataclasses import asdict

    from dolg_zoo.embedders.dolg import DOLG
    from dolg_zoo.errors import ExportError
    from dolg_zoo.evaluation.comparison import MIN_AGREEMENT, compare

    # both embed the same images, so only the file can cause a loss
    before = model
    if exported.image_converter != model.image_converter:
        before = DOLG(model.net, exported.image_converter, model.metadata)
    found = [compare(before, exported, folder) for folder in options.check or ()]
    worse = [one for one in found if one.is_worse(options.max_loss)]
    said = "; ".join(str(one) for one in worse)
    if worse and not options.force:
        raise ExportError(
            f"It loses more than {options.max_loss:g} mAP, or less than {MIN_AGREEMENT:g} of the"
            f" ten nearest stay: {said}. Nothing was written; --force writes it anyway."
        )
    if worse:
        note(f"Written although it loses more than the limit: {said}.")
    return [asdict(one) for one in found]
