"""`dolg verify`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from dolg_zoo._util.files import user_path
from dolg_zoo.cli.model import import_tensorflow
from dolg_zoo.cli.options import Json
from dolg_zoo.cli.outputs import shown
from dolg_zoo.cli.reporting import fail_if, in_words, is_debugging, note, print_json

if TYPE_CHECKING:
    from dolg_zoo.weights.verification import CheckedFile


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

    Lists each file whose sha256 differs, with the expected sha256.

    The exit status is 1 if a file is bad and was not repaired.

    \b
    Examples:
      dolg verify
      dolg verify dolg_resnet50_gldv2 --repair
    """
    results = []
    for name in presets or _all_presets():
        result = _verify(name, repair)
        if result["files"] or presets:
            results.append(result)
            if not as_json:
                _print(result)
    if as_json:
        print_json(results)
    bad = sum(result["state"] in ("bad", "absent") for result in results)
    advice = "" if repair else "; --repair fetches or converts again what is bad"
    fail_if(bad, len(results), f"not good{advice}")


def _all_presets() -> list[str]:
    from dolg_zoo.weights import load_manifest
    from dolg_zoo.weights.verification import cached_repos

    entries = load_manifest().entries
    sources = [entry.source for entry in entries.values() if entry.source]
    pinned = {f"hf://{source.repo}@{source.revision}" for source in sources}
    return [*entries, *(url for url in cached_repos() if url not in pinned)]


def _verify(name: str, repair: bool) -> dict[str, Any]:
    result: dict[str, Any] = {"preset": name, "state": "good", "files": []}
    try:
        files = _files(name)
        result["files"] = _as_list(files)
        if not files:
            problem = f"`dolg download {name}` fetches it"
            return result | {"state": "absent", "problem": problem}
        bad = [file for file in files if file.fault]
        if bad and repair:
            _repair(name, bad)
            files = _files(name)
            result |= {"state": "repaired", "files": _as_list(files)}
        if any(file.fault for file in files):
            result["state"] = "bad"
    except Exception as error:  # the others are to be verified all the same
        if is_debugging():
            raise
        result |= {"state": "bad", "problem": in_words(error)}
    return result


def _repair(name: str, bad: list[CheckedFile]) -> None:
    from dolg_zoo.weights import load_manifest

    for file in bad:
        if file.fetch_again:
            file.fetch_again()
    if all(file.fetch_again for file in bad):
        return
    if name not in load_manifest().checkpoints:
        raise ValueError(
            "this was not damaged on the way here: reinstall dolg-zoo if the preset ships with it,"
            " save it again if it is yours, or tell who published it"
        )
    import_tensorflow()
    from dolg_zoo.presets import resolve_preset

    resolve_preset(name)  # which converts anew what it finds damaged


def _as_list(files: list[CheckedFile]) -> list[dict[str, Any]]:
    return [
        {
            "path": str(file.path),
            "bytes": file.path.stat().st_size if file.path.is_file() else 0,
            "fault": file.fault,
        }
        for file in files
    ]


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


def _files(name: str) -> list[CheckedFile]:
    from dolg_zoo.presets.files import preset_folder
    from dolg_zoo.presets.registry import entry_of
    from dolg_zoo.weights.verification import verify_entry, verify_folder, verify_repo

    if name.startswith("hf://"):
        return verify_repo(name)
    if entry := entry_of(name):
        return verify_entry(entry)
    if not user_path(name).is_dir():
        raise ValueError("there is no such preset, which `dolg presets` lists, and no such folder")
    return verify_folder(preset_folder(name))
