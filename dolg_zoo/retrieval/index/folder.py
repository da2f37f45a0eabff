"""The folder of an index: `index.json` states size and sha256 of each other file.

The name of each other file has its sha256, and no file is overwritten. A change writes new files,
then replaces `index.json`, then removes the files that it no longer names. So a killed process
leaves the old index or the new index.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from dolg_zoo._util.files import put, remove_unfinished, scratch_folder, user_path
from dolg_zoo._util.hashing import fault_in, is_sha256, sha256_of
from dolg_zoo._util.outputs import check_output
from dolg_zoo._util.own_folders import INDEX, INDEX_FILE_NAME
from dolg_zoo._util.records import read_record, write_record
from dolg_zoo.preprocessing.files import is_image

(MANIFEST,) = INDEX.signs
FORMAT_VERSION = 1
LOCK_TIMEOUT_S = 600

ROLES = {"descriptors": ".npy", "items": ".parquet", "faiss": ".index"}
"""The role of each file, and the ending of its name."""

Writer = Callable[[IO[bytes]], object]


def is_index_folder(path: str | Path) -> bool:
    """Return whether a folder is an index; another program's `index.json` does not count."""
    manifest = user_path(path) / MANIFEST
    if not manifest.is_file():
        return False
    return INDEX.owns(manifest.parent) or not has_images(manifest.parent)


def has_images(folder: Path) -> bool:
    """Return whether a folder has images, subfolders not counted."""
    return any(map(is_image, folder.iterdir()))


def write_folder(
    folder: str | Path, settings: Mapping[str, Any], writers: Mapping[str, Writer]
) -> None:
    """Write an index folder atomically; raise OutputError if the folder holds other files."""
    # `writers` maps a role in `ROLES` to the function that writes its file.
    from filelock import FileLock

    folder = check_output(folder, INDEX)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock", timeout=LOCK_TIMEOUT_S):
        files = {role: _write_file(folder, role, write) for role, write in writers.items()}
        document = {"format_version": FORMAT_VERSION, **settings, "files": files}
        write_record(folder / MANIFEST, document)
        _remove_others(folder, {entry["name"] for entry in files.values()})


def read_folder(folder: str | Path) -> tuple[dict[str, Any], dict[str, Path]]:
    """Return the settings in `index.json` and each role's verified file; ValueError if invalid."""
    folder = user_path(folder)
    path = folder / MANIFEST
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no index in {str(folder)!r}: no file {MANIFEST}. Make one with `dolg index …"
            " -o DIR`."
        )
    settings = read_record(path, FORMAT_VERSION)
    files = settings.pop("files", None)
    if not isinstance(files, dict) or not {"descriptors", "items"} <= files.keys() <= ROLES.keys():
        raise ValueError(f"{str(path)!r} does not name the files of an index under `files`.")
    paths = {}
    for role, entry in files.items():
        if not _is_entry(role, entry):
            raise ValueError(f"{str(path)!r} has no file of an index as {role}: {entry!r:.200}.")
        paths[role] = folder / entry["name"]
        if fault := fault_in(paths[role], entry["sha256"], entry["bytes"]):
            raise ValueError(
                f"{str(paths[role])!r} is damaged: {fault}. Restore it from a copy, or build the"
                " index again."
            )
    return settings, paths


def _write_file(folder: Path, role: str, write: Writer) -> dict[str, Any]:
    with scratch_folder(folder / MANIFEST) as scratch:
        path = scratch / role
        with path.open("xb") as file:
            write(file)
        size, digest = path.stat().st_size, sha256_of(path)
        name = f"{role}-{digest[:16]}{ROLES[role]}"
        put(path, folder / name)
    return {"name": name, "bytes": size, "sha256": digest}


def _remove_others(folder: Path, named: set[str]) -> None:
    remove_unfinished(folder)
    for path in folder.iterdir():
        if INDEX_FILE_NAME.fullmatch(path.name) and path.name not in named:
            with suppress(OSError):  # Windows cannot remove a mapped file; the next write does
                path.unlink()


def _is_entry(role: str, entry: object) -> bool:
    return (
        isinstance(entry, dict)
        and isinstance(entry.get("name"), str)
        and bool(INDEX_FILE_NAME.fullmatch(entry["name"]))
        and entry["name"].startswith(f"{role}-")
        and entry["name"].endswith(ROLES[role])
        and type(entry.get("bytes")) is int
        and is_sha256(entry.get("sha256"))
    )
