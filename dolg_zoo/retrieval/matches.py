"""Search results, and their display in a notebook."""

from __future__ import annotations

import html
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dolg_zoo.drawing.style import image_html
from dolg_zoo.errors import BadImageError
from dolg_zoo.preprocessing import ImageSource, load_image
from dolg_zoo.preprocessing.decode import name_of

_HEIGHT = 140  # pixels of a thumbnail
_MOST = 100  # more results would make a notebook too large to open
# No colours: the page's colours may be dark or light.
_CARD = "margin:4px;font-size:12px;max-width:240px;overflow-wrap:anywhere"


@dataclass(frozen=True)
class Match:
    """A search result.

    Attributes:
        name: the path of the image below the indexed folder, with `/` between the parts.
        path: the image file.
        score: the cosine similarity to the query, from -1 to 1.
        metadata: the metadata of the image in the index.
    """

    name: str
    path: Path
    score: float
    metadata: Mapping[str, Any] = field(default_factory=dict)


class Matches(list[Match]):
    """Search results, best first: a list that a notebook shows as a picture.

    Attributes:
        query: the query image; None if only its descriptor was given.
    """

    def __init__(self, matches: Iterable[Match] = (), query: ImageSource | None = None) -> None:
        super().__init__(matches)
        self.query = query

    def _repr_html_(self) -> str:
        return _html(self)


def _html(matches: Matches) -> str:
    """Return a row of cards: the query, if there is one, and the results with rank and score."""
    cards = []
    if matches.query is not None:
        cards.append(_card(matches.query, "Query", name_of(matches.query)))
    for rank, match in enumerate(matches[:_MOST], 1):
        cards.append(_card(match.path, f"{rank}&ensp;{match.score:.3f}", match.name))
    more = f"<p>and {len(matches) - _MOST} more</p>" if len(matches) > _MOST else ""
    none = "" if matches else "<p>nothing was found</p>"
    return f'<div style="display:flex;flex-wrap:wrap">{"".join(cards)}</div>{more}{none}'


def _card(image: ImageSource, heading: str, name: str) -> str:
    return (
        f'<figure style="{_CARD}">{_thumbnail(image, name)}'
        f"<figcaption><b>{heading}</b><br>{html.escape(name)}</figcaption></figure>"
    )


def _thumbnail(image: ImageSource, name: str) -> str:
    try:
        small = load_image(image)
    except BadImageError as error:
        return f"<p>{html.escape(str(error))}</p>"
    small.thumbnail((2 * _HEIGHT, _HEIGHT), reducing_gap=2)
    data = io.BytesIO()
    small.save(data, "JPEG", quality=85)
    return image_html(data.getvalue(), "jpeg", name)
