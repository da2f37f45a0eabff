"""`dolg fit`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dolg_zoo.cli.model import import_tensorflow
from dolg_zoo.cli.options import NewPreset, Printing
from dolg_zoo.cli.reporting import shown

if TYPE_CHECKING:
    from dolg_zoo.embedders.dolg import DOLG


def fit(
    backbone: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="A backbone with ImageNet weights, such as efficientnet_b0."
        ),
    ],
    images: Annotated[
        Path,
        typer.Option(
            metavar="DIR", help="Images to learn from, with subfolders. They need no labels."
        ),
    ],
    output: NewPreset,
    *,
    weights: Annotated[
        str,
        typer.Option(
            metavar="SOURCE", help="imagenet, or other weights, such as hf://timm/resnet50.a1_in1k."
        ),
    ] = "imagenet",
    dim: Annotated[int, typer.Option(min=1, help="Dimension of the descriptors.")] = 512,
    max_images: Annotated[
        int, typer.Option(min=2, help="Maximum number of images; of more, a random sample.")
    ] = 2000,
    printing: Printing,
) -> None:
    """Make a preset from an ImageNet backbone and images without labels, in minutes.

    Nothing is trained: the head is computed in closed form. Give varied images, at
    least twice as many as the descriptors have dimensions. To train the result on
    labelled images, give it to `dolg train --preset`.

    \b
    Examples:
      dolg fit --backbone efficientnet_b0 --images photos/ -o my-dolg
      dolg search photos/ --query query.jpg --preset my-dolg
    """
    from dolg_zoo.preprocessing import list_images

    _check(backbone, images, output)
    sources = list_images(images)
    model, used, skipped = _fitted(backbone, weights, sources, dim, max_images)
    model.save_to_preset(output)
    printing.show(
        f"{backbone}, {used} images, {dim} dimensions: {shown(output)}",
        skipped,
        sources.passed_over,
        preset=str(output),
        backbone=backbone,
        images=used,
        dim=dim,
    )
    printing.finish(skipped, sources.passed_over)


def _check(backbone: str, images: Path, output: Path) -> None:
    """Check the arguments before TensorFlow is imported."""
    from dolg_zoo._util.outputs import check_output
    from dolg_zoo._util.own_folders import PRESET
    from dolg_zoo._util.text import did_you_mean
    from dolg_zoo.backbones.imagenet_sources import list_backbones

    trained = list_backbones(weights="imagenet")
    if backbone not in trained:
        raise ValueError(
            f"There is no backbone {backbone!r} with ImageNet weights."
            f"{did_you_mean(backbone, trained)} There are {', '.join(trained)}."
        )
    check_output(output, PRESET, [images])


def _fitted(
    backbone: str, weights: str, images: Sequence[Path], dim: int, max_images: int
) -> tuple[DOLG, int, dict[str, str]]:
    """Return the model, the number of images that it was fitted to, and the unreadable images."""
    from dolg_zoo.training.closed_form import check_count, fit_head

    check_count(len(images), dim)
    import_tensorflow("Loading TensorFlow …")
    from dolg_zoo import DOLG, __version__
    from dolg_zoo.embedders.constructors import constructor

    model = constructor(backbone)(
        backbone_weights=weights, dilation_rates=(), hidden_dim=dim, descriptor_dim=dim
    )
    skipped = fit_head(model, images, max_images=max_images)
    used = min(len(images), max_images) - len(skipped)
    source = model.metadata.get("provenance", f"Backbone: {backbone} trained on ImageNet.")
    metadata = {
        "name": f"dolg_{backbone}",
        "provenance": (
            f"{source} Head: fitted in closed form to {used:,} images without labels by dolg-zoo"
            f" {__version__}, without gradient steps."
        ),
    }
    return DOLG(model.net, model.image_converter, metadata), used, skipped
