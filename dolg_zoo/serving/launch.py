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
    """Start to serve the page; without `port`, at the first free port from 7860."""
    # the result has `local_url`, `block_thread` and `close`
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
    """Return the folder of visitors' files, $GRADIO_TEMP_DIR or a temporary one, for Gradio."""
    # Gradio's default is one folder for all users of the machine, owned by the first user
    if not (given := os.environ.get("GRADIO_TEMP_DIR")):
        given = os.environ["GRADIO_TEMP_DIR"] = tempfile.mkdtemp(prefix="dolg-zoo-page-")
        atexit.register(shutil.rmtree, given, ignore_errors=True)
    folder = user_path(given)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise OSError(
            f"Visitors' files cannot be saved in GRADIO_TEMP_DIR={given}: {error.strerror}. Name"
            " a folder that you can write to, or unset the variable."
        ) from error
    return folder


@contextmanager
def _no_proxies() -> Iterator[None]:
    """Disable proxies while the page starts, since it checks itself by HTTP."""
    before = {name: os.environ.get(name) for name in ("no_proxy", "NO_PROXY")}
    os.environ.update(dict.fromkeys(before, "*"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)  # on Windows, both spellings are one variable
            else:
                os.environ[name] = value
