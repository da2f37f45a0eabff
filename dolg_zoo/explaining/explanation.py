"""Explain the attention of an image, and the score of two images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from dolg_zoo._util.cosines import cosine
from dolg_zoo.explaining.side import Side
from dolg_zoo.preprocessing import load_image
from dolg_zoo.preprocessing.decode import name_of

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from matplotlib.figure import Figure

    from dolg_zoo.explaining.decomposition import Decomposition
    from dolg_zoo.preprocessing import ImageConverter, ImageSource


@dataclass(frozen=True, repr=False)
class Explanation:
    """The attention of one photograph, or the score of two.

    Attributes:
        sides: one or two photographs. For each, `global_part + places.sum()` is the score.
        score: the cosine similarity of the two descriptors, from -1 to 1; None for one photograph.
        model: the name of the model.
    """

    sides: tuple[Side, ...]
    score: float | None
    model: str

    def __repr__(self) -> str:
        names = " and ".join(repr(side.name) for side in self.sides)
        score = "" if self.score is None else f": cosine {self.score:.3f}"
        return f"<Explanation of {names} by {self.model}{score}>"

    def figure(self) -> Figure:
        """Draw the explanation with Matplotlib."""
        from dolg_zoo.explaining.figure import draw

        return draw(self.sides, self.score)

    def save(self, path: str | Path) -> None:
        """Write the picture.

        Args:
            path: a file name that ends in .png, .svg, .jpg, .jpeg or .webp, or has no ending, for
                PNG. An existing picture made by dolg-zoo is replaced.

        Raises:
            OutputError: if the path is one of the photographs, or another file.
            ValueError: if the path has another ending.
            OSError: if the path cannot be written.
        """
        from dolg_zoo.drawing.style import check_picture, save_figure

        inputs = [side.name for side in self.sides]
        check_picture(path, inputs)
        save_figure(self.figure(), path, inputs)

    def _repr_html_(self) -> str:
        from dolg_zoo.drawing.style import figure_html

        text = f"Explanation by {self.model}"
        return figure_html(self.figure(), text)


class Explains(Protocol):
    """A model that explains its scores."""

    def explain(
        self, image: ImageSource, other: ImageSource | None = None, *, scale: float = 1.0
    ) -> Explanation:
        """See `DOLG.explain`."""


def explain(
    decompose: Callable[[np.ndarray], Decomposition],
    converter: ImageConverter,
    image: ImageSource,
    other: ImageSource | None,
    model: str,
    scale: float,
) -> Explanation:
    """Explain an image or a pair: see `DOLG.explain`.

    Args:
        decompose: decomposes the descriptor of an image (height, width, 3), uint8, from the
            converter.
        converter: resizes images.
        image: the image.
        other: another image; None for the attention alone.
        model: the name of the model.
        scale: multiple of the converter's size.
    """
    sources = [image] if other is None else [image, other]
    photos = [load_image(source) for source in sources]
    parts = [decompose(converter(photo, scale)) for photo in photos]
    names = [name_of(source) for source in sources]
    if other is None:
        sides = [Side(names[0], photos[0], parts[0].attention)]
        return Explanation(tuple(sides), None, model)
    sides = [
        Side(name, photo, mine.attention, float(mine.base @ theirs), mine.places @ theirs)
        for name, photo, mine, theirs in zip(
            names, photos, parts, [part.descriptor for part in reversed(parts)], strict=True
        )
    ]
    score = cosine(parts[0].descriptor @ parts[1].descriptor)
    return Explanation(tuple(sides), score, model)
