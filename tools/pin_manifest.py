"""Pins a preset or an upstream's checkpoint of the Hugging Face Hub in weights_manifest.json.

    python tools/pin_manifest.py dolg_resnet50_mine hf://someone/their-dolg
    python tools/pin_manifest.py dolg_resnet50_mine
    python tools/pin_manifest.py dolg_resnet50_mine --entry entry.json

The first adds a preset that has been published, the second brings an entry to where its repository
is now, the third adds an entry as `dolg publish` prints it. In each case the files are downloaded
and hashed, and no code of theirs is run. If a file that is pinned already would get other bytes, or
anything else is wrong, nothing is written and the exit status is 1.
"""

import argparse
import json
import sys
from pathlib import Path

from _manifest_schema import check
from _pinning import kind_of, write_entry

from dolg_zoo._util.hashing import sha256_of
from dolg_zoo._util.json_files import read_json_object
from dolg_zoo.backbones import BACKBONES
from dolg_zoo.preprocessing import ImageConverter
from dolg_zoo.publishing.metadata import pinned_preset
from dolg_zoo.weights import (
    WeightsError,
    fetch,
    fetch_preset,
    fetch_repo,
    load_manifest,
    parse_hub_url,
)
from dolg_zoo.weights.manifest import (
    CONFIG,
    MARGIN_HEAD,
    METADATA,
    PREPROCESSOR,
    PRESET_FILES,
    FileHash,
    HubSource,
    PresetEntry,
    parse_manifest,
)
from dolg_zoo.weights.verification import verify_folder

ROOT = Path(__file__).resolve().parents[1]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", help="what the preset is called: dolg_<architecture>_<tag>")
    parser.add_argument(
        "url", nargs="?", help="hf://user/repo[@revision]; where the entry is from if not given"
    )
    parser.add_argument("--revision", help="branch, tag or commit; main if not given")
    parser.add_argument(
        "--entry", metavar="FILE", help="an entry, or what `dolg publish --json` prints; - is stdin"
    )
    parser.add_argument("--manifest", type=Path, default=ROOT / "weights_manifest.json")
    parser.add_argument(
        "--accept-change", action="store_true", help="let pinned files get other bytes"
    )
    arguments = parser.parse_args()
    if arguments.entry and (arguments.url or arguments.revision):
        parser.error("--entry says where the files are; give it alone")
    try:
        entry = entry_for(arguments)
        write_entry(
            arguments.manifest, arguments.name, entry, accept_change=arguments.accept_change
        )
    except (WeightsError, ValueError, OSError, RecursionError) as error:
        sys.exit("error: " + " ".join(str(error).split()))
    print(f"Pinned {arguments.name} in {arguments.manifest}.")


def entry_for(arguments):
    name = arguments.name
    if arguments.entry:
        return checked_entry(name, read_entry(arguments.entry))
    if arguments.url:
        repo, revision = parse_hub_url(arguments.url)
        if revision and arguments.revision:
            raise ValueError(f"{arguments.url} names a revision; leave --revision out.")
        return preset_entry(name, repo, revision or arguments.revision)
    known = load_manifest(arguments.manifest).entries.get(name)
    if known is None:
        raise ValueError(
            f"{arguments.manifest} has no {name}; say where it is: hf://user/repo or --entry FILE."
        )
    if known.source is None:
        raise ValueError(
            f"{name} ships in the package; tools/train_embedded_preset.py --pin pins it."
        )
    if isinstance(known, PresetEntry):
        return preset_entry(name, known.source.repo, arguments.revision)
    snapshot = fetch_repo(known.source.repo, [known.file.path], revision=arguments.revision)
    content = json.loads(arguments.manifest.read_text(encoding="utf-8"))
    found = hash_of(snapshot.folder / known.file.path)
    return {
        **content["checkpoints"][name],
        "revision": snapshot.commit,
        "size": found.size,
        "sha256": found.sha256,
    }


def preset_entry(name, repo, revision):
    """The entry of a preset as its repository is now, or at a revision."""
    snapshot = fetch_repo(repo, PRESET_FILES, revision=revision)
    names = list(PRESET_FILES)
    if "margin_head" in read_json_object(snapshot.folder / CONFIG):
        fetch_repo(repo, [MARGIN_HEAD], revision=snapshot.commit)  # into the same folder
        names.append(MARGIN_HEAD)
    files = {file: hash_of(snapshot.folder / file) for file in names}
    known = {file: found.sha256 for file, found in files.items()}
    for file in verify_folder(snapshot.folder, from_hub=True, known=known):
        if file.fault:
            raise ValueError(
                f"{file.path.name} of {repo} is not what it should be, so it would not load:"
                f" {file.fault}."
            )
    metadata = read_json_object(snapshot.folder / METADATA)
    architecture, descriptor_dim = described(name, snapshot.folder)
    source = HubSource(repo, snapshot.commit)
    return pinned_preset(
        source, files, metadata, architecture=architecture, descriptor_dim=descriptor_dim
    )


def checked_entry(name, entry):
    """An entry, once its files have been fetched and have the hashes that it gives."""
    lists = {"presets": {}, "checkpoints": {}, kind_of(entry): {name: entry}}
    content = {"format_version": 1, **lists}
    check(content, "the entry")
    known = parse_manifest(content, "the entry").entries[name]
    if known.source is None:
        raise ValueError(f"{name} is on no Hub by its entry, which says that it is embedded.")
    check_name(name, known.architecture)
    if not isinstance(known, PresetEntry):
        fetch(known.file)
        return entry
    found = described(name, fetch_preset(known, list(known.files)).folder)
    if found != (known.architecture, known.descriptor_dim):
        raise ValueError(
            f"By its entry, {name} is {known.architecture} with {known.descriptor_dim} dimensions;"
            f" by its {CONFIG}, {found[0]} with {found[1]}."
        )
    return entry


def described(name, folder):
    """Architecture and length of the descriptor, by a preset's files; no network is built."""
    try:
        ImageConverter.from_config(read_json_object(folder / PREPROCESSOR))
    except TypeError as error:
        raise ValueError(f"{folder / PREPROCESSOR}: {error}") from error
    dolg = read_json_object(folder / CONFIG).get("dolg")
    dolg = dolg if isinstance(dolg, dict) else {}
    check_name(name, dolg.get("backbone"))
    return dolg["backbone"], dolg.get("whitened_dim") or dolg.get("descriptor_dim")


def check_name(name, architecture):
    if architecture not in list(BACKBONES):
        raise ValueError(
            f"{name} has the backbone {architecture!r}, and presets of the manifest have one of"
            " dolg_zoo.BACKBONES. Any other loads by hf://user/repo."
        )
    if not name.startswith(f"dolg_{architecture}_"):
        raise ValueError(f"No constructor would find {name!r}; call it dolg_{architecture}_<tag>.")


def hash_of(path):
    return FileHash(path.stat().st_size, sha256_of(path))


def read_entry(file):
    text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    entry = json.loads(text)
    if not isinstance(entry, dict):
        raise ValueError(f"The entry must be a JSON object, not {type(entry).__name__}.")
    return entry.get("entry", entry)  # of what `dolg publish --json` prints


if __name__ == "__main__":
    main()
