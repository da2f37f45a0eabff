"""`dolg serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dolg_zoo._util.modules import is_installed
from dolg_zoo.cli.model import load_explainer
from dolg_zoo.cli.options import Embedding, Images, Preset, Runtime, Where
from dolg_zoo.cli.reporting import finish, note
from dolg_zoo.cli.where import check_where, open_where
from dolg_zoo.errors import ExtraMissingError

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def serve(
    where: Where,
    preset: Preset = None,
    images: Images = None,
    runtime: Runtime = None,
    host: Annotated[
        str, typer.Option(help="The address to listen at; 0.0.0.0: reachable from other machines.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="The port; 0: the first free one from 7860.")
    ] = 7860,
    add: Annotated[
        bool | None,
        typer.Option(
            "--add/--no-add",
            help="Allow visitors to add images to the folder. (default: only on loopback)",
        ),
    ] = None,
    open_browser: Annotated[
        bool, typer.Option("--open", help="Open the page in the browser.")
    ] = False,
) -> None:
    """Search a folder from a page in the browser.

    Without --host, only this machine can reach the page. It has no password. Ctrl-C ends it.

    \b
    Example:
      dolg serve photos/
    """
    if not is_installed("gradio"):
        raise ExtraMissingError("gradio is not installed: pip install 'dolg-zoo[demo]'")
    finish({}, False, check_where(where, None, images))
    from dolg_zoo.serving import SearchDesk
    from dolg_zoo.serving.launch import start

    note(f"Opening {where} …")
    desk = SearchDesk(
        lambda chosen: open_where(where, Embedding(preset=chosen, runtime=runtime), images),
        load_explainer,
        _presets(where, preset),
    )
    may_add = host in LOOPBACK if add is None else add
    page = start(
        desk, where.resolve().name, host, port or None, may_add=may_add, open_browser=open_browser
    )
    note(f"The page is at {page.local_url} ; Ctrl-C ends it.")
    page.block_thread()


def _presets(where: Path, preset: str | None) -> list[str | None]:
    """Return the presets to choose from: that of an index, else all on this machine."""
    from dolg_zoo.presets.origins import origin_of_entry
    from dolg_zoo.presets.registry import DEFAULT_PRESET
    from dolg_zoo.retrieval.index.folder import is_index_folder
    from dolg_zoo.weights import load_manifest

    if is_index_folder(where):
        return [preset]
    here = [
        n
        for n, entry in load_manifest().entries.items()
        if origin_of_entry(entry).state != "not cached"
    ]
    return list(dict.fromkeys([preset or DEFAULT_PRESET, *here]))
