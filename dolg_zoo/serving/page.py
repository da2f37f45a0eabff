"""The page: its elements and their actions.

A visitor gets pictures that were drawn here, never a file by its path. Only `load_image` reads a
visitor's files, in a fixed list of formats.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageDraw

# set before Gradio is imported, which otherwise reports each start
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

import gradio as gr

from dolg_zoo._util.arguments import whole_number
from dolg_zoo._util.text import printable
from dolg_zoo.drawing.style import CATEGORIES, figure_image
from dolg_zoo.errors import BadImageError
from dolg_zoo.preprocessing import load_image
from dolg_zoo.serving.desk import MAX_ADDED, MAX_BYTES, RANKINGS, SearchDesk

if TYPE_CHECKING:
    from dolg_zoo.explaining import Explanation

RESULTS, MOST = 12, 1000  # number of results on the page, and maximum for programs
SHOWN, THUMBNAIL = 900, 320  # pixels of the longer side
WAITING = 100  # requests that may wait; 50 at once are answered
IMAGES = ["image", ".heic", ".heif", ".hif"]  # some systems do not know these endings
Action = Callable[..., Any]
Values = tuple[Any, ...]  # one for each output of an action
KEPT = 3600  # seconds until a visitor's files are deleted
FONTS = ["system-ui", "sans-serif"]  # the visitor's own fonts, so that no font is downloaded
STYLE = """
.gradio-container {max-width: 1200px !important; margin: auto}
#status textarea {font-weight: 600; field-sizing: content}
#matches .caption-label {
  font-size: .8rem; left: 0; right: 0; bottom: 0; max-width: 100%; border-radius: 0;
  white-space: nowrap; overflow: hidden; text-overflow: ellipsis; padding: 2px 6px
}
@media (max-width: 640px) {
  #matches .grid-container {grid-template-columns: repeat(2, 1fr) !important}
}
"""


@dataclass(frozen=True)
class Query:
    """A visitor's query."""

    path: Path
    name: str
    corner: tuple[int, int] | None = None  # the first corner of a box that is being drawn
    box: tuple[int, int, int, int] | None = None  # (x1, y1, x2, y2), pixels of the photograph
    found: tuple[str, ...] = ()  # names of the results in the index, best first
    chosen: str | None = None  # the result that was clicked


class Page:
    """The page of a desk."""

    def __init__(self, desk: SearchDesk, title: str) -> None:
        self.desk, self.title = desk, title

    def blocks(self, may_add: bool = True) -> gr.Blocks:
        """Return the page as Gradio's blocks; with `may_add`, visitors may add images."""
        with gr.Blocks(
            title=self.title, analytics_enabled=False, delete_cache=(KEPT, KEPT)
        ) as page:
            query = gr.State(None)
            gr.Markdown(f"# {_plain(self.title)}")
            status = gr.Textbox(
                f"{len(self.desk.index(self.desk.presets[0]))} images. Drop a photograph to begin.",
                label="Status",
                lines=2,
                interactive=False,
                elem_id="status",
            )
            with gr.Row():
                with gr.Column(min_width=300):
                    dropped, shown, box, preset, ranking, search = self._query_parts()
                with gr.Column(min_width=300, scale=2):
                    matches, onward, why = self._result_parts()
            if may_add:
                files, add = self._adding_parts()
                _on(add.click, self._add, [preset, files], [status])

            self._endpoints(may_add)
            found = [query, status, shown, box, matches, onward, why]
            chosen = [preset, ranking]
            _on(dropped.upload, self._drop, [dropped, *chosen], found)
            _on(shown.select, self._corner, [query, *chosen], found)
            for event in (search.click, box.submit):
                _on(event, self._search_box, [query, box, *chosen], found)
            for event in (preset.change, ranking.change):
                _on(event, self._search_again, [query, *chosen], found)
            _on(onward.click, self._onward, [query, *chosen], found)
            _on(matches.select, self._choose, [query, preset], [query, status, onward, why])
        return page

    def _query_parts(self) -> Values:
        """Return where to drop a photograph, the query, box, preset, ranking and button."""
        dropped = gr.File(
            label=f"Drop a photograph here (up to {MAX_BYTES // 2**20} MiB)",
            file_types=IMAGES,
            height=120,
            elem_id="dropped",
        )
        gr.Markdown("Click two corners to search for the part between them:")
        shown = gr.Image(
            show_label=False,
            alt_text="the query, with the box that is searched for",
            interactive=False,
            buttons=[],
            elem_id="query",
        )
        box = gr.Textbox(
            label="Box: left, top, right, bottom in pixels; empty for the whole image",
            placeholder="40, 40, 300, 240",
            elem_id="box",
        )
        preset = gr.Dropdown(
            self._preset_choices(),
            value=self.desk.presets[0],
            label="Preset",
            visible=len(self.desk.presets) > 1,
            elem_id="preset",
        )
        ranking = gr.Dropdown(
            list(RANKINGS),
            value=next(iter(RANKINGS)),
            label="Ranking",
            elem_id="ranking",
        )
        search = gr.Button("Search", variant="primary", elem_id="search")
        return dropped, shown, box, preset, ranking, search

    def _result_parts(self) -> Values:
        """Return the results, the button that searches for one, and the explanation."""
        gr.Markdown("The most similar images, best first; choose one to see why:")
        matches = gr.Gallery(
            show_label=False,
            columns=4,
            height="auto",
            object_fit="contain",
            allow_preview=False,
            buttons=[],
            elem_id="matches",
        )
        onward = gr.Button("Search for the chosen image", interactive=False, elem_id="onward")
        gr.Markdown("Attention of both images, and the positions that match:")
        why = gr.Image(
            show_label=False,
            alt_text="attention of both photographs, and what speaks for their match",
            interactive=False,
            buttons=["fullscreen"],
            elem_id="why",
        )
        return matches, onward, why

    def _adding_parts(self) -> Values:
        """Return the files to add, and the button."""
        with gr.Accordion("Add photographs to the index", open=False):
            files = gr.File(
                label=f"Up to {MAX_ADDED} at once; they are kept in the indexed folder",
                file_types=IMAGES,
                file_count="multiple",
                elem_id="files",
            )
            add = gr.Button("Add them", elem_id="add")
        return files, add

    def _endpoints(self, may_add: bool) -> None:
        """Add the endpoints for programs: /search, /explain and, if allowed, /add."""

        def text(label: str, value: str | None = None) -> gr.Textbox:
            return gr.Textbox(value, label=label, visible=False)

        def choice(label: str, choices: list[Any], value: str | None) -> gr.Dropdown:
            return gr.Dropdown(choices, value=value, label=label, visible=False)

        image = gr.File(label="image", file_types=["image"], visible=False)
        name = text("name of an image in the index")
        box = text("left, top, right, bottom in pixels; empty for the whole image", "")
        k = gr.Number(RESULTS, label=f"number of results, 1 to {MOST}", precision=0, visible=False)
        ranking = choice("ranking", list(RANKINGS), next(iter(RANKINGS)))
        preset = choice("preset", self._preset_choices(), self.desk.presets[0])
        result = gr.JSON(label="result", visible=False)
        picture = gr.Image(label="picture", visible=False, format="png")
        call = gr.Button(visible=False).click
        _on(call, self.search, [image, box, k, ranking, preset], [result], "search")
        _on(call, self.explain, [image, name, box, preset], [result, picture], "explain")
        if may_add:
            files = gr.File(
                label="images", file_types=["image"], file_count="multiple", visible=False
            )
            _on(call, self.add, [files, preset], [result], "add")

    # The endpoints for programs. The arguments' names and defaults are part of the interface.

    def search(
        self, image: str, box: str, k: int, ranking: str, preset: str | None = None
    ) -> list[dict[str, Any]]:
        """Return the rank, name and score of the most similar images, best first."""
        k = whole_number("k", k, 1, MOST)
        matches = self.desk.search(self._preset(preset), _sent(image), _box(box), k, ranking)
        return [
            {"rank": rank, "name": match.name, "score": float(match.score)}
            for rank, match in enumerate(matches, 1)
        ]

    def explain(self, image: str, name: str, box: str, preset: str | None = None) -> Values:
        """Return the score of an image and an image of the index, its two parts, and a picture."""
        explanation = self.desk.explain(self._preset(preset), _sent(image), name, _box(box))
        result = {
            "score": explanation.score,
            "local": _local_part(explanation),
            "global": explanation.sides[0].global_part,
        }
        return result, figure_image(explanation.figure())

    def add(self, images: list[str], preset: str | None = None) -> dict[str, Any]:
        """Add images; return the names in the index, and why others were refused."""
        if not images:
            raise ValueError("There are no images to add.")
        added = self.desk.add(self._preset(preset), [Path(image) for image in images])
        return {"names": added.names, "refused": added.refused}

    def _preset(self, preset: str | None) -> str | None:
        return self.desk.presets[0] if preset is None else preset

    # Actions on the page. Each returns the values of the outputs that `_on` names.

    def _drop(self, file: str | None, preset: str | None, ranking: str) -> Values:
        if not file:
            raise gr.Error("There is no file.")
        query = Query(Path(file), Path(file).name)
        return self._results(query, preset, ranking)

    def _corner(
        self, query: Query | None, preset: str | None, ranking: str, click: gr.SelectData
    ) -> Values:
        query = _query_of(query)
        photo = load_image(query.path)
        scale = max(photo.size) / min(SHOWN, max(photo.size))
        corner = tuple(round(part * scale) for part in click.index)
        if query.corner is None:
            query = replace(query, corner=corner, box=None)
            drawn = _drawn(photo, query)
            return query, "Now click the opposite corner.", drawn, "", *[gr.skip()] * 3
        (x1, x2), (y1, y2) = (sorted(pair) for pair in zip(query.corner, corner, strict=True))
        if x1 == x2 or y1 == y2:
            raise gr.Error("That box is empty: click two corners that are apart.")
        return self._results(replace(query, corner=None, box=(x1, y1, x2, y2)), preset, ranking)

    def _search_box(
        self, query: Query | None, text: str, preset: str | None, ranking: str
    ) -> Values:
        query = replace(_query_of(query), corner=None, box=_box(text))
        return self._results(query, preset, ranking)

    def _search_again(self, query: Query | None, preset: str | None, ranking: str) -> Values:
        if query is None:  # load the preset before there is a photograph
            return None, f"{len(self.desk.index(preset))} images.", *[gr.skip()] * 5
        return self._results(query, preset, ranking)

    def _onward(self, query: Query | None, preset: str | None, ranking: str) -> Values:
        name = _query_of(query).chosen
        if name is None:
            raise gr.Error("Choose one of the results first.")
        return self._results(Query(self.desk.photo(preset, name), name), preset, ranking)

    def _results(self, query: Query, preset: str | None, ranking: str) -> Values:
        photo = load_image(query.path)
        matches = self.desk.search(preset, photo, query.box, RESULTS, ranking)
        query = replace(query, found=tuple(match.name for match in matches), chosen=None)
        cards = [
            (_thumbnail(match.path), f"{rank} · {match.score:.3f} · {_short(match.name)}")
            for rank, match in enumerate(matches, 1)
        ]
        of_what = "the box in " if query.box else ""
        said = (
            f"{len(cards)} of {len(self.desk.index(preset))} images, the most similar to"
            f" {of_what}{printable(query.name)} first."
        )
        text = ", ".join(map(str, query.box)) if query.box else ""
        return (
            query,
            said,
            _drawn(photo, query),
            text,
            gr.Gallery(cards, selected_index=None),
            gr.Button(interactive=False),
            None,
        )

    def _preset_choices(self) -> list[Any]:
        """Return the label and the name of each preset."""
        return [(name or "the default preset", name) for name in self.desk.presets]

    def _choose(self, query: Query | None, preset: str | None, click: gr.SelectData) -> Values:
        query = _query_of(query)
        if not 0 <= click.index < len(query.found):
            raise gr.Error("That result is no longer there: search again.")
        name = query.found[click.index]
        explanation = self.desk.explain(preset, query.path, name, query.box)
        said = (
            f"{printable(name)}: cosine {explanation.score:.3f}, of which"
            f" {_local_part(explanation):+.3f} come from positions (local) and"
            f" {explanation.sides[0].global_part:+.3f} from the whole (global)."
        )
        query = replace(query, chosen=name)
        return query, said, gr.Button(interactive=True), figure_image(explanation.figure())

    def _add(self, preset: str | None, files: list[str] | None) -> str:
        if not files:
            raise gr.Error("There are no files to add.")
        added = self.desk.add(preset, [Path(file) for file in files])
        said = f"{len(added.names)} of {len(files)} files are in the index now."
        for name, why in added.refused.items():
            said += f"\n{printable(name)} was refused: {why}."
        return said


def _on(
    event: Action, act: Action, inputs: list[Any], outputs: list[Any], api_name: str | None = None
) -> None:
    """Bind an action to an event; a failed action shows its error and changes nothing."""
    # with `api_name` it is an endpoint for programs

    @functools.wraps(act)  # Gradio looks for a parameter of the type SelectData
    def acting(*given: Any) -> Any:
        try:
            return act(*given)
        except (BadImageError, ValueError, OSError) as error:
            raise gr.Error(_reason(error), print_exception=False) from error

    event(
        acting,
        inputs,
        outputs,
        api_name=api_name,
        api_visibility="public" if api_name else "private",
        concurrency_id="desk",
    )


def _reason(error: Exception) -> str:
    """Return the text of an error for a visitor, without local paths."""
    if isinstance(error, BadImageError):
        return f"That cannot be used as an image: {error.reason}."
    if isinstance(error, OSError):
        return "That file is no longer here: drop it again."
    return str(error)


def _local_part(explanation: Explanation) -> float:
    parts = explanation.sides[0].places
    assert parts is not None  # set, since there are two images
    return float(parts.sum())


def _sent(image: str | None) -> Path:
    if not image:
        raise ValueError("There is no image.")
    return Path(image)


def _query_of(query: Query | None) -> Query:
    if query is None:
        raise gr.Error("Drop a photograph first.", print_exception=False)
    return query


def _box(text: str | None) -> tuple[int, int, int, int] | None:
    if not text or not text.strip():
        return None
    try:
        x1, y1, x2, y2 = (round(float(part)) for part in text.split(","))
    except (ValueError, OverflowError):
        raise ValueError(
            f"A box is four numbers, left, top, right, bottom; not {text[:40]!r}."
        ) from None
    return x1, y1, x2, y2


def _thumbnail(path: Path) -> Image.Image:
    try:
        image = load_image(path)
    except BadImageError:  # the file was deleted after indexing
        return Image.new("RGB", (THUMBNAIL, THUMBNAIL), "#8c959f")
    image.thumbnail((THUMBNAIL, THUMBNAIL), reducing_gap=2)
    return image


def _drawn(photo: Image.Image, query: Query) -> Image.Image:
    """Return the picture of the query, with the box or its first corner."""
    scale = min(SHOWN, max(photo.size)) / max(photo.size)
    small = photo.copy()
    small.thumbnail((SHOWN, SHOWN), reducing_gap=2)
    draw = ImageDraw.Draw(small)
    if query.box:
        x1, y1, x2, y2 = (part * scale for part in query.box)
        draw.rectangle((x1 - 2, y1 - 2, x2 + 2, y2 + 2), outline="white", width=6)
        draw.rectangle((x1, y1, x2, y2), outline=CATEGORIES[0], width=3)
    if query.corner:
        x, y = (part * scale for part in query.corner)
        draw.ellipse((x - 8, y - 8, x + 8, y + 8), fill=CATEGORIES[0], outline="white", width=3)
    return small


def _short(name: str) -> str:
    """Return the last part of a name; the page shows the whole name of a chosen result."""
    return printable(name.rpartition("/")[2])


def _plain(text: str) -> str:
    """Return Markdown that shows the text literally."""
    return "".join(
        f"\\{letter}" if letter in "\\`*_{}[]<>()#+-.!|~$" else letter for letter in text
    )
