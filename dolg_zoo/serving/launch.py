"""The server of the page."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from dolg_zoo._util.files import user_path
from dolg_zoo.serving.desk import MAX_BYTES, SearchDesk

if TYPE_CHECKING:
    import gradio as gr


def start(
    desk: SearchDesk,
    title: str,
    host: str = "127.0.0.1",
    port: int | None = None,
    *,
    may_add: bool = True,
    open_browser: bool = False,
) -> gr.Blocks:
    """Begins to serve the page.

    Args:
        desk: the desk that searches.
        title: the title of the page.
        host: the address to listen at.
        port: None for the first that is free from 7860 on.
        may_add: whether visitors may add images.
        open_browser: whether to open the page in the browser.

    Returns:
        The page: `local_url` says where it is, `block_thread` waits for Ctrl-C, `close` ends it.

    Raises:
        OSError: if the port is taken, or GRADIO_TEMP_DIR names a folder that cannot be written to.
    """
    upload_folder()
    with _no_proxies():
        import gradio as gr

        from dolg_zoo.serving.page import FONTS, STYLE, WAITING, Page

        page = Page(desk, title).blocks(may_add)
        page.queue(max_size=WAITING, default_concurrency_limit=2)
        _, address, _ = page.launch(
            server_name=host,
            server_port=port,
            prevent_thread_lock=True,
            quiet=True,
            share=False,
            ssr_mode=False,
            allowed_paths=[],
            max_file_size=MAX_BYTES,
            footer_links=[],
            show_error=True,
            enable_monitoring=False,
            theme=gr.themes.Default(font=FONTS, font_mono=["ui-monospace", "monospace"]),
            css=STYLE,
        )
    if open_browser:
        webbrowser.open(address)
    return page


def upload_folder() -> Path:
    """Return the folder of what visitors send, and have Gradio use it.

    It is that of the variable GRADIO_TEMP_DIR. Without it, it belongs to this process alone and is
    removed at its end: Gradio's own is shared by all users of the machine, and the first of them
    owns it.

    Raises:
        OSError: if GRADIO_TEMP_DIR names a folder that cannot be written to.
    """
    if not (given := os.environ.get("GRADIO_TEMP_DIR")):
        given = os.environ["GRADIO_TEMP_DIR"] = tempfile.mkdtemp(prefix="dolg-zoo-page-")
        atexit.register(shutil.rmtree, given, ignore_errors=True)
    folder = user_path(given)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise OSError(
            f"What visitors send cannot be kept in GRADIO_TEMP_DIR={given}: {error.strerror}. Name"
            " a folder that you can write to, or unset the variable."
        ) from error
    return folder


@contextmanager
def _no_proxies() -> Iterator[None]:
    """Keep proxies out while the page starts: it asks itself by HTTP whether it is there."""
    before = {name: os.environ.get(name) for name in ("no_proxy", "NO_PROXY")}
    os.environ.update(dict.fromkeys(before, "*"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)  # both are one on Windows
            else:
                os.environ[name] = value
