"""The lists of Google Landmarks v2 (Weyand et al., 2020, arXiv 2004.01804)."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from dolg_zoo._util.csv_lists import lines
from dolg_zoo.errors import DataError

IMAGE_ID = re.compile(r"[0-9a-f]{16}")

_LINES = {
    "id,url,landmark_id": re.compile(r"(?P<ids>[0-9a-f]{16}),.*,(?P<landmark>[0-9]{1,9})\s*"),
    "landmark_id,images": re.compile(
        r"(?P<landmark>[0-9]{1,9}),(?P<ids>[0-9a-f]{16}(?: [0-9a-f]{16})*)\s*"
    ),
}


def read_landmarks(path: str | Path, hint: str = "") -> tuple[np.ndarray, np.ndarray]:
    """Read train.csv (id, url, landmark_id) or train_clean.csv (landmark_id, images).

    Return (ids, landmarks), each (images,); an id is the number that its 16 hex digits stand for.
    """
    listed = lines(path)
    header = next(listed, "").rstrip()
    if header not in _LINES:
        raise DataError(
            f"{path} begins with {header[:80]!r}, and the lists of GLDv2 with"
            f" {' or '.join(map(repr, _LINES))}. {hint}"
        )
    landmarks, ids = [], []
    for number, line in enumerate(listed, 2):
        match = _LINES[header].fullmatch(line)
        if match is None:
            raise DataError(
                f"{path}, line {number} is {line[:80]!r}, not {header} with ids of 16 hexadecimal"
                " digits and a landmark's number; download the list again."
            )
        landmarks.append(int(match["landmark"]))
        ids.append(match["ids"])
    if not ids:
        raise DataError(f"{path} lists no images below its header.")
    numbers = np.frombuffer(bytes.fromhex(" ".join(ids)), ">u8").astype(np.uint64)
    ordered = np.sort(numbers)
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    if len(twice):
        raise DataError(
            f"{path} lists the image {twice[0]:016x} more than once, and {len(twice)} such in all;"
            " download the list again."
        )
    # an id and the space behind it take 17 characters
    images_of_line = [(len(text) + 1) // 17 for text in ids]
    return numbers, np.repeat(landmarks, images_of_line)
