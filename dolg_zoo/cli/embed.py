"""`dolg embed`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from dolg_zoo.cli.model import load_model
from dolg_zoo.cli.options import Json, Preset, Scales, Strict
from dolg_zoo.cli.outputs import check_output, shown
from dolg_zoo.cli.reporting import as_list, finish, print_json


def embed(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Where the images are, subfolders included.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="OUT.npz", help="The file to write.")
    ],
    preset: Preset = None,
    scales: Scales = None,
    strict: Strict = False,
    as_json: Json = False,
) -> None:
    """Write the descriptors of a folder's images to a file.

    An interrupted run goes on where it was when it is started again. If OUT.npz is a pipe, such
    as /dev/stdout, what is otherwise printed goes to standard error.

    \b
    Example:
      dolg embed photos/ -o descriptors.npz --scales 0.7071,1,1.4142

    \b
    To read the file in Python:
      with numpy.load("descriptors.npz") as file:
          names = file["names"]              # paths below DIR
          descriptors = file["descriptors"]  # (images, dim), float32, unit length
          preset = file["model_name"]
    or, to search:
      index = dolg_zoo.retrieval.Index.load("descriptors.npz", model, "photos/")
    """
    from dolg_zoo.preprocessing import list_images

    list_images(folder)  # to fail before the model is loaded
    check_output(output)
    from dolg_zoo.files import is_special
    from dolg_zoo.retrieval import Index

    model = load_model(preset)
    index = Index.build(model, folder, scales=scales, cache=True)
    index.save(output)
    # a pipe is most likely standard output, and is to hold nothing but the file
    out = sys.stderr if is_special(output) else sys.stdout
    if as_json:
        print_json(
            {
                "folder": str(folder),
                "output": str(output),
                "preset": model.metadata["preset"],
                "model_id": index.model_id,
                "images": len(index),
                "from_cache": index.reused,
                "dim": model.descriptor_dim,
                "scales": index.scales,
                "skipped": as_list(index.skipped),
            },
            out,
        )
    else:
        print(
            f"{len(index)} images ({index.reused} known from before), {model.descriptor_dim}"
            f" dimensions: {shown(output)}",
            file=out,
        )
    finish(index.skipped, strict)
