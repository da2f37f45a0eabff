"""The metadata of a published preset, checked and complete, and its entry in the manifest."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

from dolg_zoo.errors import ManifestError, PublishError
from dolg_zoo.weights.manifest import FileHash, HubSource

NEEDED = {
    "description": "what it finds, in one line",
    "dataset": "what it was trained on",
    "license": "Apache-2.0",
    "provenance": "how the weights came to be",
}
"""The metadata that every published preset must state, with examples."""


def merged_metadata(stated: Mapping[str, Any], given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return metadata.json's content updated with `given`; a PublishError names all faults."""
    given = {} if given is None else given
    check_metadata(given)
    merged = {**stated, **given}
    if "license" in given and "license_note" not in given:
        merged.pop("license_note", None)  # it was about another licence
    _check_values(merged)
    lacking = {key: example for key, example in NEEDED.items() if not merged.get(key, "").strip()}
    if lacking:
        raise PublishError(
            f"Before a preset is published it must say its {', '.join(lacking)}. Give"
            f" metadata={lacking} (in the shell: --metadata FILE.json, which holds"
            f" {json.dumps(lacking)}), with what is true of yours."
        )
    return merged


def check_metadata(given: Mapping[str, Any]) -> None:
    """Raise PublishError if a key is none of `FIELDS`, or its value of a wrong kind."""
    if not isinstance(given, Mapping):
        raise PublishError(f"metadata must be a dictionary, not {type(given).__name__}.")
    for key in given:
        if key not in FIELDS:
            raise PublishError(f"metadata has no {key!r}; it has {', '.join(FIELDS)}.")
    _check_values(given)


def _check_values(metadata: Mapping[str, Any]) -> None:
    for key in FIELDS.keys() & metadata.keys():
        fault = FIELDS[key](metadata[key])
        if fault:
            raise PublishError(f"metadata: {key} must be {fault}, not {metadata[key]!r}.")


def license_id(expression: str) -> str:
    """Return an SPDX licence expression in SPDX's spelling, or raise ValueError."""
    try:
        return canonicalize_license_expression(expression)
    except InvalidLicenseExpression as error:
        raise ValueError(str(error)) from error


def pinned_preset(
    source: HubSource,
    files: Mapping[str, FileHash],
    metadata: Mapping[str, Any],
    *,
    architecture: str,
    descriptor_dim: int,
) -> dict[str, Any]:
    """Return a published preset's manifest entry, as in JSON, or raise ManifestError."""
    # `source` names the commit of the files; metadata.json's keys that an entry lacks are left out
    lacking = [key for key in NEEDED if not metadata.get(key)]
    if lacking:
        raise ManifestError(
            f"The metadata.json of {source.repo} lacks {', '.join(lacking)}, which each entry of"
            " the manifest must state."
        )
    try:
        license = license_id(metadata["license"])
    except (ValueError, TypeError, AttributeError) as error:
        raise ManifestError(
            f"The license {metadata['license']!r} of {source.repo} is no SPDX expression: {error}."
        ) from error
    return {
        "description": metadata["description"],
        "architecture": architecture,
        "descriptor_dim": descriptor_dim,
        "dataset": metadata["dataset"],
        "source": asdict(source),
        "files": {name: asdict(file) for name, file in files.items()},
        "license": license,
        "license_note": metadata.get("license_note", ""),
        "provenance": metadata["provenance"],
        "figures": metadata.get("figures", []),
        "figures_note": metadata.get("figures_note", ""),
    }


# Each returns the form that a value must have, or None if the value has it.
def _text(value: object) -> str | None:
    if not isinstance(value, str):
        return "a text"
    try:
        value.encode()
    except UnicodeEncodeError:
        return "a text that UTF-8 can hold"
    return None


def _texts(value: object) -> str | None:
    if isinstance(value, list) and all(_text(each) is None for each in value):
        return None
    return "a list of texts"


def _license(value: object) -> str | None:
    if not isinstance(value, str) or not value.strip():  # an empty one is lacking, not wrong
        return _text(value)
    try:
        license_id(value)
    except ValueError:
        return (
            "an SPDX expression, such as Apache-2.0, CC-BY-4.0 or LicenseRef-my-own-terms; what"
            " there is to say beside it goes into license_note"
        )
    return None


def _figures(value: object) -> str | None:
    if isinstance(value, list) and all(map(_is_figure, value)):
        return None
    return (
        'a list of {"value": a finite number, "metric": …, "dataset": …, "source": …}, texts that'
        ' are not empty, and optionally "note"'
    )


def _is_figure(figure: object) -> bool:
    texts = {"metric", "dataset", "source"}
    return (
        isinstance(figure, dict)
        and {"value"} | texts <= figure.keys() <= {"value", "note"} | texts
        and type(figure["value"]) in (int, float)
        and abs(figure["value"]) <= sys.float_info.max  # false for NaN
        and all(_text(figure[key]) is None for key in figure.keys() - {"value"})
        and all(figure[key].strip() for key in texts)
    )


FIELDS: Mapping[str, Callable[[object], str | None]] = {
    "name": _text,
    "description": _text,
    "dataset": _text,
    "license": _license,
    "license_note": _text,
    "provenance": _text,
    "limits": _text,
    "intended_use": _text,
    "figures": _figures,
    "figures_note": _text,
    "derived_from": _text,
    "trained_classes": _texts,
}
