"""`dolg download`."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from dolg_zoo.cli.model import import_tensorflow
from dolg_zoo.cli.options import Json
from dolg_zoo.cli.reporting import fail_if, in_words, is_debugging, note, print_json, shown


def download(
    presets: Annotated[
        list[str] | None,
        typer.Argument(metavar="PRESET", help="Names from `dolg presets`, or hf://user/repo."),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Download all presets of `dolg presets`.")
    ] = False,
    margin_head: Annotated[
        bool, typer.Option("--margin-head", help="Also download the margin heads of the training.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Download and verify presets, to use them without a network connection.

    Cached files are verified, and not downloaded again. Official weights are also converted. You
    may copy the printed folder to another machine and use its path as the preset there; copy with
    cp -rL, since the files in the cache of the Hub are links.

    \b
    Examples:
      dolg download dolg_resnet50_gldv2
      dolg download hf://user/repo@revision
    """
    if bool(presets) == everything:
        raise typer.BadParameter("name presets, or give --all.", param_hint="PRESET")
    from dolg_zoo.presets import preset_names

    done, failed = [], 0
    for preset in preset_names() if everything else presets or ():
        try:
            done.append(_fetch(preset, margin_head))
        except Exception as error:  # continue with the other presets
            if is_debugging():
                raise
            failed += 1
            note(f"dolg: {in_words(error)}")
            continue
        if not as_json:
            print(
                f"{shown(done[-1]['preset'])}: {done[-1]['bytes'] / 2**20:.1f} MiB, ready after"
                f" {done[-1]['seconds']:.1f} s in {shown(done[-1]['folder'])}",
                flush=True,
            )
    if as_json:
        print_json(done)
    fail_if(failed, len(done) + failed, "could not be downloaded")


def _fetch(preset: str, margin_head: bool) -> dict[str, Any]:
    from dolg_zoo.presets.verification import fetch_verified

    begin = time.monotonic()
    resolved = fetch_verified(preset, margin_head, before_conversion=import_tensorflow)
    return {
        "preset": resolved.name,
        "folder": str(resolved.folder),
        "bytes": sum(path.stat().st_size for path in resolved.folder.iterdir()),
        "seconds": round(time.monotonic() - begin, 3),
    }
