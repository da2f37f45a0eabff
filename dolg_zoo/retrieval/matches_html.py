"""How a notebook shows what a search found."""

from __future__ import annotations

import html
import io
from typing import TYPE_CHECKING

from dolg_zoo.errors import BadImageError
from dolg_zoo.figures import image_html
from dolg_zoo.preprocessing import load_image
from dolg_zoo.preprocessing.decode import name_of

if TYPE_CHECKING:
    from dolg_zoo.preprocessing import ImageSource
    from dolg_zoo.retrieval.gallery import Matches

HEIGHT = 140  # pixels of a thumbnail
MOST = 100  # more would make a notebook too large to be opened
# the page's own colours, be they dark or light
CARD = "margin:4px;font-size:12px;max-width:240px;overflow-wrap:anywhere"


def matches_html(matches: Matches) -> str:
    """A line of cards: the query, if it is known, and what was found, with ranks and scores."""
    cards = []
    if matches.query is not None:
        cards.append(_card(matches.query, "Query", name_of(matches.query)))
    for rank, match in enumerate(matches[:MOST], 1):
        cards.append(_card(match.path, f"{rank}&ensp;{match.score:.3f}", match.name))
    more = f"<p>and {len(matches) - MOST} more</p>" if len(matches) > MOST else ""
    none = "" if matches else "<p>nothing was found</p>"
    return f'<div style="display:flex;flex-wrap:wrap">{"".join(cards)}</div>{more}{none}'


def _card(image: ImageSource, heading: str, name: str) -> str:
    return (
        f'<figure style="{CARD}">{_thumbnail(image, name)}'
        f"<figcaption><b>{heading}</b><br>{html.escape(name)}</figcaption></figure>"
    )


def _thumbnail(image: ImageSource, name: str) -> str:
    try:
        small = load_image(image)
    except BadImageError as error:
        return f"<p>{html.escape(str(error))}</p>"
    small.thumbnail((2 * HEIGHT, HEIGHT), reducing_gap=2)
    held = io.BytesIO()
    small.save(held, "JPEG", quality=85)
    return image_html(held.getvalue(), "jpeg", name)
