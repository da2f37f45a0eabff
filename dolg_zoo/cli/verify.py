"""`dolg verify`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from dolg_zoo.cli.model import import_tensorflow
from dolg_zoo.cli.options import Json
from dolg_zoo.cli.reporting import fail_if, in_words, is_debugging, note, print_json, shown


def verify(
    presets: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PRESET",
            help="Names, hf://user/repo or preset folders. (default: everything cached)",
        ),
    ] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Download or convert bad files again.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Verify the sha256 of cached presets, and repair them.

    List each file whose sha256 differs, with the expected sha256.

    The exit status is 1 if a file is bad and was not repaired.

    \b
    Examples:
      dolg verify
      dolg verify dolg_resnet50_gldv2 --repair
    """
    from dolg_zoo.presets.verification import verifiable_presets

    results = []
    for name in presets or verifiable_presets():
        result = _verify(name, repair)
        if result["files"] or presets:
            results.append(result)
            if not as_json:
                _print(result)
    if as_json:
        print_json(results)
    bad = sum(result["state"] in ("bad", "absent") for result in results)
    advice = "" if repair else "; --repair downloads or converts bad files again"
    fail_if(bad, len(results), f"not good{advice}")


def _verify(name: str, repair: bool) -> dict[str, Any]:
    from dolg_zoo.presets.verification import repair_preset, verify_preset

    result: dict[str, Any] = {"preset": name, "state": "good", "files": []}
    try:
        files = verify_preset(name)
        result["files"] = [file.to_dict() for file in files]
        if not files:
            problem = f"`dolg download {name}` downloads it"
            return result | {"state": "absent", "problem": problem}
        bad = [file for file in files if file.fault]
        if bad and repair:
            repair_preset(name, bad, before_conversion=import_tensorflow)
            files = verify_preset(name)
            result |= {"state": "repaired", "files": [file.to_dict() for file in files]}
        if any(file.fault for file in files):
            result["state"] = "bad"
    except Exception as error:  # continue with the other presets
        if is_debugging():
            raise
        result |= {"state": "bad", "problem": in_words(error)}
    return result


def _print(result: dict[str, Any]) -> None:
    size = sum(file["bytes"] for file in result["files"]) / 2**20
    print(
        f"{result['state']:8}  {shown(result['preset'])}"
        + (f"  ({len(result['files'])} files, {size:.1f} MiB)" if result["files"] else "")
    )
    for file in result["files"]:
        if file["fault"]:
            print(f"{'':10}{shown(file['path'])}: {shown(file['fault'])}")
    if "problem" in result:
        note(f"dolg: {result['preset']}: {result['problem']}")
