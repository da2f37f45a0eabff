"""Read JSON from strangers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

# far more than any list or architecture needs, far less than the memory
_MAX_BYTES = 16 * 2**20


def read_json_object(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file, or raise a ValueError that names the file."""
    try:
        return json_object(path)
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} cannot be read as JSON: {error}") from error


def json_object(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file; its errors do not name the file."""
    values = json.loads(json_text(path), parse_constant=_no_number)
    if not isinstance(values, dict):
        raise ValueError(f"it must hold a JSON object, not {type(values).__name__}")
    return values


def json_text(path: Path) -> str:
    """Return the text of a JSON file; raise ValueError if it is too large or not UTF-8."""
    with path.open("rb") as file:
        data = file.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise ValueError(f"it has more than {_MAX_BYTES} bytes")
    return data.decode("utf-8")


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no JSON")
