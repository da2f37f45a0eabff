"""Resolve the name of a preset to a folder with its verified files."""

from __future__ import annotations

import fnmatch
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from dolg_zoo._util.files import user_path
from dolg_zoo._util.hashing import sha256_of
from dolg_zoo._util.text import did_you_mean
from dolg_zoo.errors import PresetError as PresetError
from dolg_zoo.presets.files import preset_folder
from dolg_zoo.presets.origins import Folder, Origin, Repository, ResolvedPreset, origin_of_entry
from dolg_zoo.weights import CheckpointEntry, load_manifest, parse_hub_url
from dolg_zoo.weights.manifest import CONFIG, PREPROCESSOR, WEIGHTS, PresetEntry

if TYPE_CHECKING:
    import keras

    from dolg_zoo.presets.folder import Preset

logger = logging.getLogger(__name__)

DEFAULT_PRESET = "dolg_efficientnet_lite_b0_places_products"


def preset_names() -> list[str]:
    """Return the names that `DOLG.from_preset` takes, sorted."""
    return list(load_manifest().entries)


def list_presets(pattern: str = "*") -> list[str]:
    """Return the names that `DOLG.from_preset` takes and that match a pattern, sorted.

    Args:
        pattern: a name with `*` and `?` as wildcards, such as "*resnet50*".
    """
    return fnmatch.filter(preset_names(), pattern)


def preset_tags(architecture: str) -> list[str]:
    """Return the tags of a backbone's presets: "imagenet" of "dolg_<architecture>_imagenet"."""
    return [
        name.removeprefix(f"dolg_{architecture}_")
        for name, entry in load_manifest().entries.items()
        if entry.architecture == architecture
    ]


def find_preset(preset: str | Path | None = None) -> Origin:
    """Return where a preset's files come from; nothing is read.

    Raises:
        PresetError: if there is no such preset or folder.
        ValueError: if a text that begins with hf:// is no address of a repository.
    """
    presets = load_manifest().entries
    if preset is None:
        preset = of_the_zoo(DEFAULT_PRESET)
    if isinstance(preset, _ZooName):
        return origin_of_entry(presets[preset])
    if isinstance(preset, str) and preset.startswith("hf://"):
        parse_hub_url(preset)
        return Repository(preset)
    if isinstance(preset, str) and (entry := _entry_of(preset)):
        return origin_of_entry(entry)
    folder = user_path(preset)
    if folder.is_dir():
        name = str(folder if str(preset).startswith("~") else preset)
        # A folder must not be called like a preset of the zoo.
        return Folder(f"./{name}" if name in presets else name, folder=preset_folder(folder))
    if folder.is_file():
        raise PresetError(
            f"{str(preset)!r} is a file, and a preset is a folder: name a folder that"
            " save_to_preset wrote, or port a checkpoint with one of tools/convert_*.py."
        )
    raise PresetError(
        f"There is no preset and no folder {str(preset)!r}.{did_you_mean(str(preset), presets)}"
        f" Presets: {', '.join(presets)}. A preset of the Hugging Face Hub is hf://user/repo."
    )


def _entry_of(name: str) -> PresetEntry | CheckpointEntry | None:
    """Return a preset's manifest entry; None without one, or if a preset folder has the name."""
    entry = load_manifest().entries.get(name)
    if entry and (folder := Path(name)).is_dir():
        is_preset = (preset_folder(folder) / CONFIG).is_file()
        _warn_of_folder(name, is_preset)
        return None if is_preset else entry
    return entry


@cache  # warn once per name
def _warn_of_folder(name: str, is_preset: bool) -> None:
    taken = "the folder here is" if is_preset else "the folder here holds no preset; that one is"
    logger.warning("%s is also the name of a preset of the zoo; %s taken.", name, taken)


class _ZooName(str):
    __slots__ = ()


def of_the_zoo(name: str) -> str:
    """Return the name so marked that it means the zoo's preset even if a folder has the name."""
    return _ZooName(name) if name in load_manifest().entries else name


def resolve_preset(
    preset: str | Path | ResolvedPreset | None = None,
    *,
    before_conversion: Callable[[], object] = lambda: None,
) -> ResolvedPreset:
    """Return the folder of a preset; download or convert its files if necessary.

    Args:
        preset: a name from `preset_names()`, `hf://user/repo`, `hf://user/repo@revision` or a
            folder; None for the preset that ships with the package; a `ResolvedPreset` is returned
            unchanged. A preset folder is preferred to a preset of the same name, with a warning.
        before_conversion: is called before a checkpoint is converted, which needs TensorFlow.

    Raises:
        PresetError: if there is no such preset or folder, or a shipped file has been changed.
        WeightsError: if a file cannot be downloaded, or its sha256 differs from the expected.
    """
    if isinstance(preset, ResolvedPreset):
        return preset
    return find_preset(preset).resolve(before_conversion)


def hashes_of(resolved: ResolvedPreset) -> dict[str, str]:
    """Return the sha256 of the files that determine a preset's descriptors.

    Raises:
        PresetError: if a file cannot be read.
    """
    try:
        return {
            name: resolved.sha256.get(name) or sha256_of(resolved.folder / name)
            for name in (CONFIG, PREPROCESSOR, WEIGHTS)
        }
    except OSError as error:
        raise PresetError(f"{resolved.name}: {error}") from error


def load_preset(
    preset: str | Path | ResolvedPreset | None = None,
    *,
    load_weights: bool = True,
    dtype: str | keras.DTypePolicy | None = None,
) -> tuple[str, Preset]:
    """Return a preset and its name.

    Args:
        preset: as `resolve_preset` takes it.
        load_weights: False for the same network with random weights.
        dtype: the dtype policy of the layers; None for Keras's global policy.

    Raises:
        PresetError: as `resolve_preset`, and if a file is invalid.
        WeightsError: if a file cannot be downloaded, or its sha256 differs from the expected.
    """
    from dolg_zoo.presets.folder import read_preset

    resolved = resolve_preset(preset)
    with _named(resolved):
        loaded = read_preset(
            resolved.folder, resolved.sha256, load_weights=load_weights, dtype=dtype
        )
    return resolved.name, replace(loaded, metadata={**loaded.metadata, **resolved.metadata})


def load_margin_head(preset: str | Path) -> keras.layers.Layer:
    """Return the margin head that a preset was trained with, as a layer with its weights.

    Args:
        preset: as `resolve_preset` takes it, but the zoo's preset is preferred to a folder of the
            same name.

    Raises:
        PresetError: as `resolve_preset`, and if the preset has no margin head.
        WeightsError: if a file cannot be downloaded, or its sha256 differs from the expected.
    """
    from dolg_zoo.presets.folder import read_margin_head

    resolved = resolve_preset(of_the_zoo(preset) if isinstance(preset, str) else preset)
    with _named(resolved):
        fetch_margin_head(resolved)
        return read_margin_head(resolved.folder)


def fetch_margin_head(resolved: ResolvedPreset) -> None:
    """Download a preset's margin head to its folder, if the Hub has one."""
    if resolved.origin:
        resolved.origin.fetch_margin_head(resolved)


@contextmanager
def _named(resolved: ResolvedPreset) -> Iterator[None]:
    """Put the preset's name before the message of a PresetError that lacks it."""
    try:
        yield
    except PresetError as error:
        if resolved.name in str(error):
            raise
        raise PresetError(f"{resolved.name}: {error}") from error
