"""Writes entries of the manifest, and refuses a silent change of what is pinned."""

import json
from pathlib import Path

from _manifest_schema import check, read_checked

from dolg_zoo._util.files import replacing
from dolg_zoo.errors import ManifestError


def write_entry(manifest, name, entry, *, accept_change):
    """Put an entry into a manifest file, under its name; one of that name is replaced.

    The file is replaced as a whole, once what it will hold has been checked.

    Args:
        manifest: the file.
        name: of the preset.
        entry: as it stands in JSON, of a preset or of a checkpoint.
        accept_change: whether a file that is pinned already may get other bytes.

    Raises:
        ManifestError: the manifest is malformed, or would be; or a pinned file would change, with
            its name and both hashes.
        OSError: the file cannot be written.
    """
    content = read_checked(manifest)
    entries = content[kind_of(entry)]
    before = entries.get(name)
    entries[name] = entry
    check(content, manifest.name)
    if before is not None and not accept_change:
        for field in ("license", "source"):
            old, new = before.get(field), entry.get(field)
            if old != new and (field == "license" or "embedded" in (old, new)):
                raise ManifestError(
                    f"The {field} of {name} is {old!r} and would become {new!r}; accept the change"
                    " only if you know why it is."
                )
        _refuse_change(name, _pins(before), _pins(entry))
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    with replacing(manifest) as file:
        Path(file.name).chmod(manifest.stat().st_mode & 0o7777)
        file.write(text.encode("utf-8"))


def kind_of(entry):
    """The list of the manifest that an entry belongs to: "presets" or "checkpoints"."""
    return "presets" if "files" in entry else "checkpoints"


def _pins(entry):
    if "files" in entry:
        return entry["files"]
    return {entry["file"]: {"size": entry["size"], "sha256": entry["sha256"]}}


def _refuse_change(name, before, after):
    for file, old in before.items():
        new = after.get(file)
        if new != old:
            is_now = f"now has {_words(new)}" if new else "is no longer there"
            raise ManifestError(
                f"{file} of {name} is pinned to {_words(old)} and {is_now}. Whoever has the old"
                " manifest keeps the old bytes; accept the change only if you know why it is."
            )


def _words(pin):
    return f"sha256 {pin['sha256']} ({pin['size']} bytes)"
