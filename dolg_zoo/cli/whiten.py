"""`dolg whiten`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from dolg_zoo.cli.model import load_model
from dolg_zoo.cli.options import MAX_LOSS, Check, NewPreset, Preset, Printing
from dolg_zoo.cli.reporting import note, shown
from dolg_zoo.cli.tables import print_comparisons


def whiten(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Images to learn from, with subfolders.")
    ],
    output: NewPreset,
    *,
    preset: Preset = None,
    dim: Annotated[
        int | None,
        typer.Option(min=1, help="Dimension of the new descriptors. (default: unchanged)"),
    ] = None,
    power: Annotated[
        float,
        typer.Option(
            min=0.0, max=1.0, help="0.5: full whitening; 0: only PCA; values between are safer."
        ),
    ] = 0.25,
    check: Check = None,
    printing: Printing,
) -> None:
    """Write a preset with PCA-whitened descriptors, learned from images without labels.

    Give many varied images: at least twelve per dimension. Fewer dimensions always cost some
    accuracy; --check shows how much.

    \b
    Examples:
      dolg whiten photos/ -o my-dolg --dim 256 --check places/
      dolg search photos/ --query query.jpg --preset my-dolg
    """
    from dolg_zoo import retrieval
    from dolg_zoo.evaluation.comparison import compare
    from dolg_zoo.retrieval.whitening import check_can_whiten

    _check(folder, output, preset, check or ())
    model = load_model(preset)
    check_can_whiten(model, dim, power)
    index = retrieval.Index.build(model, folder, scales=(1.0,), cache=True)
    whitened = retrieval.whiten(model, index.descriptors, dim, power=power)
    comparisons = [compare(model, whitened, each) for each in check or ()]
    whitened.save_to_preset(output)
    printing.show(
        f"{len(index)} images ({index.reused} known from before), {model.descriptor_dim} to"
        f" {whitened.descriptor_dim} dimensions: {shown(output)}",
        index.skipped,
        index.passed_over,
        folder=str(folder),
        preset=str(output),
        made_from=model.metadata["preset"],
        images=len(index),
        from_cache=index.reused,
        dim=whitened.descriptor_dim,
        power=power,
        checks=[*map(asdict, comparisons)],
    )
    if not printing.as_json:
        print_comparisons(map(asdict, comparisons))
    if worse := [str(one) for one in comparisons if one.is_worse(MAX_LOSS)]:
        note(f"The new descriptors score lower: {'; '.join(worse)}.")
    printing.finish(index.skipped, index.passed_over)


def _check(folder: Path, output: Path, preset: str | None, checked_on: Iterable[Path]) -> None:
    """Check the arguments before the model is loaded."""
    from dolg_zoo._util.outputs import check_output
    from dolg_zoo._util.own_folders import PRESET
    from dolg_zoo.evaluation.comparison import classes_in
    from dolg_zoo.preprocessing import list_images

    list_images(folder)
    for each in checked_on:
        classes_in(each)
    check_output(output, PRESET, [folder, preset])
