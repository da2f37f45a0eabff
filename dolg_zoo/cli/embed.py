"""`dolg embed`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dolg_zoo.cli.model import load_model
from dolg_zoo.cli.options import OUTPUT, Embedding, Printing, RemoveMissing
from dolg_zoo.cli.reporting import leave_stdout_to, note, shown

if TYPE_CHECKING:
    from dolg_zoo.embedders.base import ImageEmbedder

CALIBRATION = 128  # images
OF_LISTS = ("images", "anywhere")


@dataclass(frozen=True)
class Store:
    """How to write the folder OUT."""

    dtype: Annotated[
        str, typer.Option(metavar="TYPE", help="float32, or float16 for half the size.")
    ] = "float32"
    batch_size: Annotated[int, typer.Option(min=1, help="Images per batch.")] = 16
    images: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="For a list: the folder of its relative paths. (default: the folder of the list)",
        ),
    ] = None
    anywhere: Annotated[
        bool, typer.Option("--anywhere", help="For a list: allow paths outside of that folder.")
    ] = False
    repair: Annotated[
        bool, typer.Option("--repair", help="Embed again the images of damaged files in OUT.")
    ] = False
    engine: Annotated[
        str,
        typer.Option(
            metavar="ENGINE",
            help="local, or ray: the cluster at $RAY_ADDRESS, or all GPUs of this machine.",
        ),
    ] = "local"
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, help="Number of ray workers. (default: one per GPU, or per machine without GPUs)"
        ),
    ] = None
    moved: Annotated[
        bool,
        typer.Option("--moved", help="The images of OUT are the same, moved to another folder."),
    ] = False
    remove_missing: RemoveMissing = False


def embed(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A folder with its subfolders; a .csv or .parquet list with a column image; or a"
            " quoted pattern of images or tar files: 'photos/**/*.jpg',"
            " 'shard-{000000..000009}.tar'.",
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(*OUTPUT, metavar="OUT", help="The folder to write to, or a file OUT.npz."),
    ],
    *,
    embedding: Embedding,
    into: Store,
    printing: Printing,
) -> None:
    """Write the descriptors of images to a folder or a file.

    The folder OUT is updated: new and changed images are embedded, deleted images are removed, and
    the others stay. So an interrupted run continues when you start it again. Two folders whose
    images have the same names need an OUT each. The number of images is not limited.

    If OUT ends in .npz, or is a pipe such as /dev/stdout, one file is written at the end, and
    SOURCE must be a folder. With a pipe, messages go to standard error.

    \b
    Examples:
      dolg embed photos/ -o descriptors --scales 0.7071,1,1.4142
      dolg embed 'photos/**/*.jpg' -o descriptors --dtype float16
      dolg embed photos/ -o descriptors.npz
      RAY_ADDRESS=10.0.0.1:6379 dolg embed /shared/photos -o descriptors --engine ray

    \b
    To read the folder in Python (each part-*.parquet in it has columns id and descriptor):
      store = dolg_zoo.retrieval.DescriptorStore.open("descriptors")
      ids, descriptors = store.read()        # (images, dim), float32, L2-normalised
    To read the file:
      with numpy.load("descriptors.npz") as file:
          names = file["names"]              # paths below DIR
          descriptors = file["descriptors"]  # (images, dim), float32, L2-normalised
          preset = file["model_name"]
    To search:
      index = dolg_zoo.retrieval.Index.load("descriptors.npz", model, "photos/")
    """
    from dolg_zoo._util.files import is_special

    if output.suffix == ".npz" or (is_special(output) and not output.is_dir()):
        if into != Store(batch_size=into.batch_size):
            raise typer.BadParameter(
                "--dtype, --images, --anywhere, --repair, --engine, --workers, --moved and"
                " --remove-missing are for a folder; leave out .npz."
            )
        _to_file(source, output, embedding, into.batch_size, printing)
    else:
        _to_store(source, output, embedding, into, printing)


def _to_file(
    source: str, output: Path, embedding: Embedding, batch_size: int, printing: Printing
) -> None:
    from dolg_zoo.preprocessing import list_images

    paths = list_images(source)  # fails before the model is loaded
    from dolg_zoo._util.outputs import check_output
    from dolg_zoo.retrieval import Index
    from dolg_zoo.retrieval.index.file import INDEX_FILE

    check_output(output, INDEX_FILE)
    leave_stdout_to(output)

    model = embedding.load(lambda: paths)
    index = Index.build(model, source, batch_size=batch_size, scales=embedding.scales, cache=True)
    index.save(output)
    printing.show(
        f"{len(index)} images ({index.reused} known from before), {model.descriptor_dim}"
        f" dimensions: {shown(output)}",
        index.skipped,
        index.passed_over,
        folder=source,
        output=str(output),
        preset=model.metadata["preset"],
        model_id=index.model_id,
        images=len(index),
        from_cache=index.reused,
        dim=model.descriptor_dim,
        scales=index.scales,
    )
    printing.finish(index.skipped, index.passed_over)


def _to_store(
    source: str, output: Path, embedding: Embedding, into: Store, printing: Printing
) -> None:
    from dolg_zoo._util.outputs import check_output
    from dolg_zoo._util.own_folders import STORE
    from dolg_zoo.retrieval.extraction.extract import check_engine, check_folder_of_images, extract
    from dolg_zoo.retrieval.extraction.sources import first_images, open_source
    from dolg_zoo.retrieval.extraction.store import DescriptorStore

    # these checks fail before the model is loaded
    check_engine(into.engine, into.workers)
    check_output(output, STORE, [source])
    contents = open_source(source, images=into.images, anywhere=into.anywhere)
    if (output / "store.json").is_file() and not (into.moved or into.repair):
        check_folder_of_images(DescriptorStore.open(output), contents)
    if into.engine == "ray":
        from dolg_zoo.retrieval.extraction.ray_engine import leave_gpus_to_workers

        leave_gpus_to_workers()
        if (embedding.runtime, embedding.precision) != (None, "float32"):
            raise typer.BadParameter("--runtime and --precision are for the local engine")
        model: ImageEmbedder = load_model(embedding.preset)
    else:
        model = embedding.load(partial(first_images, contents, CALIBRATION))
    options = {name: value for name, value in vars(into).items() if name not in OF_LISTS}
    report = extract(model, contents, output, scales=embedding.scales, **options)
    store, skipped = report.store, {**report.skipped, **report.faults}
    if not printing.as_json:
        for name, count in report.forgotten.items():
            note(f"{name} was damaged; its {count} images are embedded again")
    printing.show(
        f"{len(store)} images ({report.changes}), {store.dim} dimensions: {shown(output)}",
        skipped,
        report.passed_over,
        source=source,
        output=str(output),
        preset=store.model_name,
        model_id=store.model_id,
        images=len(store),
        **asdict(report.changes),
        forgotten=report.forgotten,
        dim=store.dim,
        dtype=store.dtype,
        scales=store.scales,
        seconds=round(report.seconds, 3),
    )
    printing.finish(skipped, report.passed_over)
