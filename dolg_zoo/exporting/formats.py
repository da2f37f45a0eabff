"""The formats of exports, and the checks before an export begins."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from dolg_zoo._util.files import FILE_ENDINGS, user_path
from dolg_zoo._util.outputs import Kind, check_output
from dolg_zoo.errors import ExportError
from dolg_zoo.exporting.record import SAVED_MODEL, has_text, is_ours
from dolg_zoo.preprocessing import ImageConverter
from dolg_zoo.runtimes import RUNTIMES, check_route
from dolg_zoo.runtimes.registry import in_order

SUFFIXES = {
    name: [Path(file).suffix for file in runtime.code.FILES] + [".json"] * (not has_text(name))
    for name, runtime in RUNTIMES.items()
    if name != "keras"
}
"""The suffixes of each format's files; a SavedModel is a folder."""
FORMATS = {SAVED_MODEL: "", **{name: suffixes[0] for name, suffixes in SUFFIXES.items()}}
PRECISIONS = ("float32", "int8")


@dataclass(frozen=True)
class Plan:
    """An export whose arguments are checked."""

    path: Path
    format: str  # one of `FORMATS`
    precision: str  # "float32" or "int8"
    size: tuple[int | None, int | None]  # height and width of the images; None for any
    image_converter: ImageConverter


def plan_export(
    path: str | Path,
    format: str,
    precision: str,
    size: tuple[int, int] | None,
    converter: ImageConverter,
    own_size: tuple[int | None, int | None] = (None, None),
) -> Plan:
    """Check the arguments of `DOLG.export`, and return the plan of the export.

    Args:
        path: the file or folder to write.
        format: one of `FORMATS`, or Keras's name of the first.
        precision: "float32" or "int8".
        size: height and width; None for the network's own, or any.
        converter: the image converter of the model.
        own_size: (height, width) of the network's input; None for any.

    Raises:
        ExportError: if the arguments do not fit together.
        OutputError: if the path, or a file beside it with a needed name, is no export.
        RuntimeMissingError: if a package is missing; the message names the extra.
    """
    path = user_path(path)
    format = SAVED_MODEL if format == "tf_saved_model" else format
    if format not in FORMATS:
        raise ExportError(f"format must be one of {', '.join(FORMATS)}, not {format!r}.")
    if precision not in PRECISIONS:
        hint = ""
        if precision == "bfloat16":
            hint = (
                " OpenVINO computes a float32 file in bfloat16 if INFERENCE_PRECISION_HINT says so."
            )
        raise ExportError(
            f"precision of a file must be one of {', '.join(PRECISIONS)}, not {precision!r}.{hint}"
        )
    if format == SAVED_MODEL:
        if precision != "float32":
            raise ExportError(
                f"A SavedModel is written in float32 only; int8: {', '.join(in_order('int8'))}."
            )
    else:
        check_route(format, precision)
    check_path(path, format)
    sides, converter = _size_of(format, size, converter, own_size)
    return Plan(path, format, precision, sides, converter)


def check_path(path: Path, format: str) -> None:
    """Check that an export may be written; raise ExportError or the errors of `check_output`."""
    suffix = FORMATS[format]
    if suffix != path.suffix and (suffix or path.suffix.lower() in FILE_ENDINGS):
        what = f"a file whose name ends in {suffix}" if suffix else "a folder"
        of = next((name for name, known in FORMATS.items() if known == path.suffix != ""), None)
        advice = f"; for that, --format {of} (format={of!r})" if of else ""
        raise ExportError(f"{format} is written to {what}, not to {str(path)!r}{advice}.")
    check_output(path, kind_of(format))
    for beside in SUFFIXES.get(format, ())[1:]:
        # a non-empty file beside an existing export belongs to the export
        check_output(
            path.with_suffix(beside), Kind("a part of an export", lambda _: path.stat().st_size > 0)
        )


def kind_of(format: str) -> Kind:
    """Return a format's kind of output."""
    return Kind(
        f"an export to {format}",
        lambda path: is_ours(path, format),
        is_folder=format == SAVED_MODEL,
        keeps_hidden=False,
    )


def _size_of(
    format: str,
    size: tuple[int, int] | None,
    converter: ImageConverter,
    own: tuple[int | None, int | None],
) -> tuple[tuple[int | None, int | None], ImageConverter]:
    if size is not None:
        if len(size) != 2 or not all(type(side) is int and side > 0 for side in size):
            raise ExportError(f"size must be (height, width) in pixels, not {size!r}.")
        height, width = size
        if None not in own and (height, width) != own:
            raise ExportError(f"The network takes {own[0]}×{own[1]} pixels only, not {size!r}.")
        size = (height, width)
        fixed = replace(converter, size=size, mode="squash", multiple_of=1, scales=(1.0,))
        return size, fixed
    if None in own and format in RUNTIMES and RUNTIMES[format].exports_one_size:
        if converter.mode != "squash":
            raise ExportError(
                f"A file for {format} needs one size for all images, but this model has none: give"
                " --size HEIGHT,WIDTH, or size=(height, width) in Python."
            )
        width, height = converter.target_size(1, 1)
        return (height, width), replace(converter, scales=(1.0,))
    return own, converter
