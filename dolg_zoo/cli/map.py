"""`dolg map`."""

from __future__ import annotations

from pathlib import Path

from dolg_zoo.cli.options import Drawing, Embedding, FolderOrIndex, Images, Printing
from dolg_zoo.cli.reporting import check_picture, note, shown
from dolg_zoo.cli.where import check_where, contents_of, open_where


def draw_map(
    where: FolderOrIndex,
    *,
    output: Drawing = Path("map.png"),
    images: Images = None,
    embedding: Embedding,
    printing: Printing,
) -> None:
    """Draw a map of a folder: similar images are near each other.

    If every image is in a subfolder, each subfolder has its own colour and marker. Thumbnails are
    drawn where there is room; other images are markers.

    \b
    Example:
      dolg map photos/ -o map.svg
    """
    check_picture(output)
    check_where(where, embedding.scales, images)
    index = open_where(where, embedding, images)
    from dolg_zoo.drawing.map import draw_map, positions
    from dolg_zoo.drawing.style import save_figure

    note(contents_of(index, where))
    layout = positions(index.descriptors)
    places = dict(zip(index.names, layout.round(4).tolist(), strict=True))
    printing.show("", index.skipped, index.passed_over, picture=str(output), places=places)
    save_figure(draw_map(index, layout=layout), output)
    if not printing.as_json:
        print(f"written to {shown(output)}")
    printing.finish(index.skipped, index.passed_over)
