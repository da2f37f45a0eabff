"""The server of the page."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
        OSError: if the port is taken.
    """
    import gradio as gr

    from dolg_zoo.serving.page import FONTS, STYLE, WAITING, Page

    page = Page(desk, title).blocks(may_add).queue(max_size=WAITING, default_concurrency_limit=2)
    page.launch(
        server_name=host,
        server_port=port,
        prevent_thread_lock=True,
        quiet=True,
        inbrowser=open_browser,
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
    return page
