"""Write the files to publish into a folder of their own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dolg_zoo._util.hashing import sha256_of
from dolg_zoo.drawing.style import marked, write_picture
from dolg_zoo.errors import PresetError, PublishError
from dolg_zoo.presets.description import count_parameters
from dolg_zoo.presets.files import (
    REPORT,
    check_preset,
    has_margin_head,
    preset_folder,
    read_description,
    read_json,
)
from dolg_zoo.publishing.architecture import Architecture, architecture_of, stated_architecture
from dolg_zoo.publishing.architecture_figure import architecture_figure
from dolg_zoo.publishing.metadata import merged_metadata, pinned_preset
from dolg_zoo.publishing.model_card import FIGURE, model_card
from dolg_zoo.weights.manifest import (
    CONFIG,
    MARGIN_HEAD,
    METADATA,
    PREPROCESSOR,
    PRESET_FILES,
    WEIGHTS,
    FileHash,
    HubSource,
)

if TYPE_CHECKING:
    import keras

    from dolg_zoo.embedders.dolg import DOLG
    from dolg_zoo.preprocessing import ImageConverter

CARD = "README.md"


@dataclass(frozen=True)
class Staged:
    """A preset ready to be published."""

    repo: str  # `user/name`
    folder: Path
    files: Mapping[str, FileHash]  # of each file, with page and picture
    metadata: Mapping[str, Any]  # the content of metadata.json
    architecture: str  # name of the backbone, or "custom"
    descriptor_dim: int

    def entry(self, commit: str) -> dict[str, Any]:
        """Return the manifest's entry for the preset at a commit."""
        pinned = (*PRESET_FILES, MARGIN_HEAD)
        return pinned_preset(
            HubSource(self.repo, commit),
            {name: self.files[name] for name in pinned if name in self.files},
            self.metadata,
            architecture=self.architecture,
            descriptor_dim=self.descriptor_dim,
        )


class Facts(NamedTuple):
    """The page's facts about a preset's network: its parts and its image converter."""

    architecture: Architecture
    converter: ImageConverter


def stated_facts(preset: Path) -> Facts | None:
    """Return the facts that a preset's files state about its network, or None; load nothing."""
    # None without the sha256 that `save_to_preset` writes, or if the backbone is not one of
    # `BACKBONES` with the default taps or those of the presets in the package
    needed = {CONFIG, PREPROCESSOR, WEIGHTS} | ({MARGIN_HEAD} if has_margin_head(preset) else set())
    hashes = check_preset(preset)
    if not needed <= hashes.keys():
        return None
    described = read_description(preset)
    architecture = stated_architecture(described.config, count_parameters(preset / WEIGHTS))
    return None if architecture is None else Facts(architecture, described.image_converter)


def stage(
    preset: str | Path | DOLG,
    repo: str,
    folder: Path,
    *,
    metadata: Mapping[str, Any] | None = None,
    margin_head: keras.layers.Layer | None = None,
    facts: Facts | None = None,
) -> Staged:
    """Write the preset, its page and a picture into an empty folder, or raise PublishError."""
    # a preset folder is only read, and not even loaded with `facts`, the result of `stated_facts`
    if isinstance(preset, str | Path):
        source = preset_folder(preset)
        check_stated(source, metadata)
        if margin_head is not None:
            raise PublishError(
                "A preset folder keeps its margin head itself: give one with a model only, or save"
                " it with model.save_to_preset(folder, margin_head)."
            )
        _copy(source, folder)
    else:
        source = folder
        preset.save_to_preset(folder, margin_head)
    architecture, converter = facts or _loaded(folder, source)
    check_preset(folder)
    merged = _state(folder / METADATA, metadata)
    figure = architecture_figure(architecture)
    write_picture(folder / FIGURE, lambda file, kind: figure.save(file, kind, **marked(kind)))
    files = _hashes(folder)
    card = model_card(
        f"hf://{repo}",
        merged,
        architecture,
        converter,
        files,
        margin_head=read_json(folder / CONFIG).get("margin_head"),
        report=read_json(folder / REPORT) if REPORT in files else None,
    )
    (folder / CARD).write_text(card, encoding="utf-8", newline="\n")
    return Staged(
        repo,
        folder,
        _hashes(folder),
        merged,
        architecture.config.backbone or "custom",
        architecture.config.output_dim,
    )


def _loaded(folder: Path, source: Path) -> Facts:
    """Load the copy of a preset; an error names the folder that it was copied from."""
    from dolg_zoo.embedders.dolg import DOLG  # and with it TensorFlow
    from dolg_zoo.presets import read_margin_head

    try:
        model = DOLG.from_preset(folder)
        if has_margin_head(folder):
            read_margin_head(folder)
    except PresetError as error:
        raise PresetError(str(error).replace(str(folder), str(source))) from error
    return Facts(architecture_of(model.net), model.image_converter)


def check_stated(preset: Path, metadata: Mapping[str, Any] | None = None) -> None:
    """Raise PresetError or PublishError for faults of a preset folder that show before loading."""
    if not preset.is_dir():
        raise PublishError(
            f"There is no folder {str(preset)!r}; publish a folder that save_to_preset wrote, or a"
            " DOLG model."
        )
    for name in (*PRESET_FILES, MARGIN_HEAD, REPORT):
        if (preset / name).is_symlink():
            raise PresetError(
                f"{preset / name} is a link, perhaps to what is not to be published; publish a copy"
                " of the folder that holds the files themselves (cp -rL)."
            )
    read_json(preset / CONFIG)
    merged_metadata(read_json(preset / METADATA), metadata)


def _copy(source: Path, folder: Path) -> None:
    """Copy the files of a preset, and no others that are in its folder."""
    names = [*PRESET_FILES, *([MARGIN_HEAD] if has_margin_head(source) else [])]
    if (source / REPORT).is_file():
        names.append(REPORT)
    for name in names:
        if not (source / name).is_file():
            raise PresetError(f"{source} is no whole preset: it has no {name}.")
        shutil.copyfile(source / name, folder / name)


def _state(path: Path, given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Write given values into metadata.json; without new values the file stays as it is."""
    stated = read_json(path)
    merged = merged_metadata(stated, given)
    if merged != stated:
        text = json.dumps(merged, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        path.write_text(text, encoding="utf-8", newline="\n")
    return merged


def _hashes(folder: Path) -> dict[str, FileHash]:
    return {
        path.name: FileHash(path.stat().st_size, sha256_of(path))
        for path in sorted(folder.iterdir())
    }
