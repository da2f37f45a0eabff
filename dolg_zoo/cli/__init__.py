"""The `dolg` command.

Slow imports happen only when a command needs them, so that `dolg --help` answers at once.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated

import typer

from dolg_zoo._util.streams import prepare_streams
from dolg_zoo.cli.reporting import DEBUG_VARIABLE, reporting_errors

EPILOG = """\b
Examples:
  dolg search photos/ --query query.jpg --montage found.png
  dolg search photos/ --query query.jpg --preset dolg_resnet50_gldv2
  dolg explain query.jpg photos/rocket.jpg
  dolg serve photos/
  dolg index photos/ -o photos.index
  dolg evaluate folder places/
  dolg train --data photos/ -o my-places
  dolg export -o dolg.onnx --format onnx

\b
Exit status:
  0    done
  1    an error
  2    wrong usage
  3    with --strict: some images could not be read; the rest is done
  130  interrupted by Ctrl-C, SIGTERM or SIGHUP

\b
Environment:
  DOLG_ZOO_CACHE  folder for cached descriptors and converted and compiled
                  presets (else $XDG_CACHE_HOME/dolg-zoo or ~/.cache/dolg-zoo)
  DOLG_ZOO_RUNTIME  the runtime: see `dolg info --runtimes`
  HF_HOME         folder for downloads (else ~/.cache/huggingface)
  HF_TOKEN        token for private repositories (or: hf auth login)
  HF_ENDPOINT     a mirror of the Hub
  HF_HUB_OFFLINE=1  use only cached files
  DOLG_DEBUG=1    the same as --debug
"""

COMMANDS = {  # in the order of the help, with the function of each
    "presets": "presets",
    "info": "info",
    "download": "download",
    "verify": "verify",
    "embed": "embed",
    "index": "index",
    "search": "search",
    "serve": "serve",
    "dedupe": "dedupe",
    "explain": "explain",
    "fit": "fit",
    "train": "train",
    "whiten": "whiten",
    "export": "export",
    "publish": "publish",
    "demo": "demo",
    "map": "draw_map",
}


def build_app(arguments: Sequence[str]) -> typer.Typer:
    """Return the application with the command in the arguments, or with all commands."""
    # one command only, since reading the options of all takes 0.25 s
    app = typer.Typer(
        help="Find the same place, product or scene in a folder of photographs.",
        epilog=EPILOG,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        add_completion=False,
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    named = next((word for word in arguments if not word.startswith("-")), "")
    is_known = named in COMMANDS or named == "evaluate"
    for name in [named] if is_known else [*COMMANDS, "evaluate"]:
        if name == "evaluate":
            from dolg_zoo.cli import evaluate

            app.add_typer(evaluate.app, name=name)
            continue
        function = getattr(import_module(f"dolg_zoo.cli.{name}"), COMMANDS[name])
        app.command(name)(reporting_errors(function))
    return app


def _print_version(is_asked: bool) -> None:
    if is_asked:
        from dolg_zoo import __version__

        print(f"dolg-zoo {__version__}")
        raise typer.Exit


def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    if debug:
        os.environ[DEBUG_VARIABLE] = "1"


def main() -> None:
    """Run the `dolg` command."""
    prepare_streams()
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # some systems lack one of them
        # an ignored signal stays ignored: nohup lets a job outlive its terminal
        if number and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)  # raises KeyboardInterrupt
    try:
        _run()
    except typer.Exit as end:
        sys.exit(end.exit_code)


@reporting_errors
def _run() -> None:
    try:
        build_app(sys.argv[1:])(prog_name="dolg")
    finally:  # flush here, so that a full disk is reported
        sys.stdout.flush()
