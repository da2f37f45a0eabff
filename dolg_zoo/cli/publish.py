"""`dolg publish`."""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dolg_zoo.cli.model import import_tensorflow
from dolg_zoo.cli.options import Json
from dolg_zoo.cli.reporting import note, print_json, shown
from dolg_zoo.cli.tables import print_table

if TYPE_CHECKING:
    from dolg_zoo.publishing.push import Published

LOADING = "Loading the preset …"


@dataclass(frozen=True)
class Stated:
    """Texts about the preset."""

    description: Annotated[
        str | None, typer.Option(metavar="TEXT", help="One line about the preset.")
    ] = None
    dataset: Annotated[str | None, typer.Option(metavar="TEXT", help="The training data.")] = None
    license: Annotated[
        str | None, typer.Option(metavar="SPDX", help="The licence of the weights.")
    ] = None
    provenance: Annotated[
        str | None, typer.Option(metavar="TEXT", help="How the weights were made.")
    ] = None


def publish(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="A preset folder. It is not changed.")
    ],
    repo: Annotated[
        str, typer.Argument(metavar="USER/NAME", help="The repository. It is created if necessary.")
    ],
    *,
    metadata: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.json",
            help="A JSON object that describes the preset: description, dataset, license,"
            " provenance, limits, figures, …",
        ),
    ] = None,
    stated: Stated,
    private: Annotated[
        bool, typer.Option("--private", help="Create a private repository.")
    ] = False,
    message: Annotated[str | None, typer.Option(metavar="TEXT", help="The commit message.")] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Write the model card and the picture, and send nothing."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Publish a preset on the Hugging Face Hub, with a model card.

    All files are sent in one commit, then downloaded and compared. You must be logged in:
    `hf auth login`, or HF_TOKEN.

    \b
    Examples:
      dolg publish my-dolg me/my-dolg --license CC-BY-4.0 --dataset "40 bridges" \\
          --description "Finds the bridges of Prague" --provenance "Fine-tuned at home" --dry-run
      dolg publish my-dolg me/my-dolg --metadata about.json
    """
    from dolg_zoo._util.json_files import read_json_object

    given = {key: value for key, value in vars(stated).items() if value is not None}
    said = {**(read_json_object(metadata) if metadata else {}), **given}
    # to fail before the preset is loaded
    from dolg_zoo.presets.files import preset_folder
    from dolg_zoo.publishing.push import check_repo
    from dolg_zoo.publishing.staging import check_stated

    folder = preset_folder(folder)
    check_stated(folder, said)
    if dry_run:
        _show(folder, repo, said, as_json)
        return
    check_repo(repo)
    import_tensorflow(LOADING)
    from dolg_zoo.publishing import push_to_hub

    _print(push_to_hub(folder, repo, metadata=said, private=private, message=message), as_json)


def _print(published: Published, as_json: bool) -> None:
    url = f"hf://{published.repo}@{published.commit}"
    if as_json:
        print_json(
            {
                "repo": published.repo,
                "commit": published.commit,
                "url": published.url,
                "preset": url,
                "entry": published.entry,
            }
        )
        return
    print_table((("commit", published.commit), ("page", published.url)))
    print(f'dolg_zoo.DOLG.from_preset("{url}")\n')
    print(json.dumps(published.entry, indent=2))
    note(
        "To add it to dolg-zoo's named presets, save the lines in braces as entry.json, and run in"
        " a clone: python tools/pin_manifest.py NAME --entry entry.json"
    )


def _show(folder: Path, repo: str, said: dict[str, Any], as_json: bool) -> None:
    """Show the files to publish; the page and the picture stay in a temporary folder."""
    from dolg_zoo.publishing.model_card import FIGURE
    from dolg_zoo.publishing.staging import CARD, stage, stated_facts

    facts = stated_facts(folder)
    if facts is None:
        import_tensorflow(LOADING)
    with tempfile.TemporaryDirectory(prefix="dolg-zoo-") as temporary:
        staged = stage(folder, repo, Path(temporary), metadata=said, facts=facts)
        preview = Path(tempfile.mkdtemp(prefix="dolg-publish-"))
        for name in (CARD, FIGURE):
            shutil.copyfile(staged.folder / name, preview / name)
    card = preview / CARD
    files = [
        {"name": name, "bytes": file.size, "sha256": file.sha256}
        for name, file in staged.files.items()
    ]
    if as_json:
        print_json({"repo": staged.repo, "files": files, "card": str(card)})
        return
    print_table(((file["name"], f"{file['bytes']:,}") for file in files), header=("File", "Bytes"))
    print(f"Nothing was sent to {shown(staged.repo)}. Look at {shown(card)}")
