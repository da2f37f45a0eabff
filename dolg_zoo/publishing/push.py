"""A preset to the Hub, in one line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from dolg_zoo.publishing.hub import check_published, check_repo, commit
from dolg_zoo.publishing.staging import stage

if TYPE_CHECKING:
    import keras

    from dolg_zoo.embedders.dolg import DOLG


@dataclass(frozen=True)
class Published:
    """A preset that is on the Hub, and was read back from there.

    Attributes:
        repo: `user/name`.
        commit: 40 hexadecimal digits; `DOLG.from_preset(f"hf://{repo}@{commit}")` loads it for
            good.
        url: the page of that commit's files.
        entry: for weights_manifest.json, as it stands in JSON.
    """

    repo: str
    commit: str
    url: str
    entry: dict[str, Any]


def push_to_hub(
    preset: str | Path | DOLG,
    repo_id: str,
    *,
    metadata: Mapping[str, Any] | None = None,
    private: bool = False,
    message: str | None = None,
    margin_head: keras.layers.Layer | None = None,
) -> Published:
    """Publish a preset on the Hugging Face Hub, for `DOLG.from_preset("hf://user/name")`.

    The preset's own files, a model card and a picture of the network go there in one commit, so
    that nobody sees half of it; then all are downloaded again and compared. If all files are there
    already, no commit is made.

    ```python
    dolg_zoo.push_to_hub(
        "my-dolg",
        "me/my-dolg",
        metadata={
            "description": "Finds the bridges of Prague.",
            "dataset": "my photographs of 40 bridges",
            "license": "CC-BY-4.0",
            "provenance": "Fine-tuned from the embedded preset for 20 epochs.",
        },
    )
    ```

    Args:
        preset: a folder that `save_to_preset` wrote, of which nothing but the preset's files is
            taken; or a model.
        repo_id: `user/name`; made if it is not there.
        metadata: values that replace or complete those of the preset's metadata.json:
            name, description, dataset, license (an SPDX expression), license_note, provenance,
            limits, intended_use, derived_from and figures_note, all texts; and figures, a list of
            `{"value", "metric", "dataset", "source"}` and optionally "note". Description, dataset,
            license and provenance must be stated in the one place or the other.
        private: whether only you may see it.
        message: the message of the commit.
        margin_head: with a model, the head of `dolg_zoo.layers.MARGIN_HEADS` that it was trained
            under, for those who train on.

    Raises:
        PresetError: if the preset does not load; nothing is sent then.
        PublishError: if something must still be said of it, the Hub cannot be reached or refuses,
            or the downloaded files are not those that were sent; says whether anything was
            published.
    """
    check_repo(repo_id)
    with TemporaryDirectory(prefix="dolg-zoo-", ignore_cleanup_errors=True) as folder:
        staged = stage(preset, repo_id, Path(folder), metadata=metadata, margin_head=margin_head)
        made = commit(staged, private=private, message=message)
        check_published(staged, made)
    from huggingface_hub import constants

    url = f"{constants.ENDPOINT}/{repo_id}/tree/{made.oid}"
    return Published(repo_id, made.oid, url, staged.entry(made.oid))
