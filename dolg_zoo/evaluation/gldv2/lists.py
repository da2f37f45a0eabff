"""Read the files of Google Landmarks v2: lists of images, solutions and predictions."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np

from dolg_zoo._util.csv_lists import lines
from dolg_zoo.errors import DataError

Truth = TypeVar("Truth")

SUBSETS = ("Public", "Private")
IGNORED = "Ignored"
IMAGE_ID = re.compile(r"[0-9a-f]{16}")

_LINES = {
    "id,url,landmark_id": re.compile(r"(?P<ids>[0-9a-f]{16}),.*,(?P<landmark>[0-9]{1,9})\s*"),
    "landmark_id,images": re.compile(
        r"(?P<landmark>[0-9]{1,9}),(?P<ids>[0-9a-f]{16}(?: [0-9a-f]{16})*)\s*"
    ),
}


def read_landmarks(path: str | Path, hint: str = "") -> tuple[np.ndarray, np.ndarray]:
    """Read train.csv (id, url, landmark_id) or train_clean.csv (landmark_id, images).

    Return (ids, landmarks), each (images,); an id is the number of its 16 hexadecimal digits.
    """
    listed = lines(path)
    header = next(listed, "").rstrip()
    if header not in _LINES:
        raise DataError(
            f"{path} begins with {header[:80]!r}, but a list of GLDv2 begins with"
            f" {' or '.join(map(repr, _LINES))}. {hint}"
        )
    landmarks, ids = [], []
    form = (
        f"{header} with ids of 16 hexadecimal digits and a landmark's number; download the list"
        " again"
    )
    for _, match in _matches(path, listed, _LINES[header], form):
        landmarks.append(int(match["landmark"]))
        ids.append(match["ids"])
    if not ids:
        raise DataError(f"{path} lists no images below its header.")
    numbers = np.frombuffer(bytes.fromhex(" ".join(ids)), ">u8").astype(np.uint64)
    ordered = np.sort(numbers)
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    if len(twice):
        raise DataError(
            f"{path} lists {len(twice)} images more than once, first {twice[0]:016x}; download the"
            " list again."
        )
    # An id and the space after it have 17 characters.
    images_of_line = [(len(text) + 1) // 17 for text in ids]
    return numbers, np.repeat(landmarks, images_of_line)


def read_retrieval_solution(path: str | Path) -> dict[str, dict[str, frozenset[str]]]:
    """Return subset ("Public", "Private") to query id to relevant images."""
    # columns: id, images (joined by spaces), Usage
    return _solution(path, "images", _relevant)


def read_recognition_solution(path: str | Path) -> dict[str, dict[str, frozenset[int]]]:
    """Return subset ("Public", "Private") to query id to landmarks."""
    # columns: id, landmarks (joined by spaces, or empty), Usage
    return _solution(path, "landmarks", _landmarks)


def read_retrieval_predictions(path: str | Path) -> dict[str, list[str]]:
    """Read a submission to the retrieval challenge: id, images (joined by spaces, best first)."""
    return {query: text.split() for _, query, text in _by_query(path, "id", "images")}


def read_recognition_predictions(path: str | Path) -> dict[str, tuple[int, float]]:
    """Read a recognition challenge's submission: id, landmarks ("number confidence" or empty)."""
    return {
        query: _prediction(text, position)
        for position, query, text in _by_query(path, "id", "landmarks")
        if text.strip()
    }


def _solution(
    path: str | Path, column: str, read: Callable[[str, str], Truth]
) -> dict[str, dict[str, Truth]]:
    solution: dict[str, dict[str, Truth]] = {subset: {} for subset in SUBSETS}
    for position, query, text, usage in _by_query(path, "id", column, "Usage"):
        if usage == IGNORED:
            continue
        if usage not in solution:
            raise DataError(
                f"{position}: Usage must be {', '.join(SUBSETS)} or {IGNORED}, not {usage[:80]!r}."
            )
        solution[usage][query] = read(text, position)
    if not any(solution.values()):
        raise DataError(f"{path} has no {' or '.join(SUBSETS)} query.")
    return {subset: queries for subset, queries in solution.items() if queries}


def _by_query(path: str | Path, *header: str) -> Iterator[tuple[str, ...]]:
    """Yield (position, query, the other values) of each line; DataError for a repeated query."""
    # The csv module limits a field to fewer characters than a query's relevant images may have.
    line_of = re.compile(
        ",".join([r"([0-9a-f]{16})", r"([^,\"]*)", r"(\w+)"][: len(header)]) + r"\s*"
    )
    listed = lines(path)
    first_line = next(listed, "").rstrip()
    if first_line != ",".join(header):
        raise DataError(f"{path} must begin with {','.join(header)!r}, not {first_line[:80]!r}.")
    seen: dict[str, int] = {}
    form = f"{','.join(header)} with an id of 16 hexadecimal digits"
    for number, match in _matches(path, listed, line_of, form):
        position, query = f"{path}, line {number}", match[1]
        if seen.setdefault(query, number) != number:
            raise DataError(f"{position}: {query} is in line {seen[query]} already; remove one.")
        yield position, *match.groups()


def _matches(
    path: str | Path, listed: Iterable[str], line_of: re.Pattern[str], form: str
) -> Iterator[tuple[int, re.Match[str]]]:
    """Yield number and match of each line below the header; DataError if a line is invalid."""
    for number, line in enumerate(listed, 2):
        match = line_of.fullmatch(line)
        if match is None:
            raise DataError(f"{path}, line {number} is {line[:80]!r}, not {form}.")
        yield number, match


def _relevant(text: str, position: str) -> frozenset[str]:
    images = frozenset(text.split())
    for image in images:
        if not IMAGE_ID.fullmatch(image):
            raise DataError(
                f"{position}: images must be ids of 16 hexadecimal digits, not {image[:80]!r}."
            )
    if not images:
        raise DataError(f"{position}: images is empty, and the query is not {IGNORED}.")
    return images


def _landmarks(text: str, position: str) -> frozenset[int]:
    try:
        return frozenset(map(int, text.split()))
    except ValueError:
        raise DataError(
            f"{position}: landmarks must be whole numbers joined by spaces, or nothing, not"
            f" {text[:80]!r}."
        ) from None


def _prediction(text: str, position: str) -> tuple[int, float]:
    try:
        landmark, confidence = text.split()
        prediction = int(landmark), float(confidence)
    except ValueError:
        prediction = 0, math.nan
    if not math.isfinite(prediction[1]):
        raise DataError(
            f"{position}: landmarks must be one landmark's number and a confidence, or nothing, not"
            f" {text[:80]!r}."
        )
    return prediction
