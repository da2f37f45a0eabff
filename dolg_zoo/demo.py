"""The demo search, on photographs of the package or of the user."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from dolg_zoo._util.progress import track
from dolg_zoo.errors import BadImageError
from dolg_zoo.evaluation import leave_one_out, query_gallery
from dolg_zoo.preprocessing import list_images, load_image
from dolg_zoo.preprocessing.files import Listing, class_of, unclear_classes
from dolg_zoo.retrieval import Picture, montage_rows
from dolg_zoo.shipped_photos import shipped_photos

if TYPE_CHECKING:
    from dolg_zoo.embedders.base import ImageEmbedder
    from dolg_zoo.preprocessing import ImageSource

MAX_PHOTOS = 50
MAX_CLASS_PHOTOS = 400
SHOWN_QUERIES, SHOWN_RESULTS = 6, 6
# pixels, since altering a camera's picture at full size takes seconds
LONG_SIDE = 1024

Item = TypeVar("Item")


@dataclass(frozen=True)
class DemoResult:
    """The result of a demo."""

    protocol: str  # a description of queries and gallery
    recall_at_1: float  # share of the queries whose first result is right
    map: float  # mean average precision
    queries: int
    gallery: int  # number of searched images; with classes, all images except the query
    rows: Sequence[tuple[Picture, Sequence[Picture]]]  # some queries, first results
    skipped: dict[str, str]  # path to reason, for unreadable images

    def draw(self, path: str | Path | None = None) -> Image.Image:
        """Return a picture of `rows`; see `montage` for the path."""
        return montage_rows(self.rows, path, columns=SHOWN_RESULTS, height=140)


def run_demo(model: ImageEmbedder, folder: str | Path | None = None) -> DemoResult:
    """Search among photographs of classes, or among altered copies, and score the results."""
    # Classes need at least two subfolders (not parts of a data set) with two photographs each.
    # Large folders are sampled evenly. None: the photographs in the package.
    if folder is None:
        return _among_altered(model, shipped_photos(), "that ship with dolg-zoo")
    paths = list_images(folder)
    classes = {} if unclear_classes(paths.names) else _classes(paths)
    if len(classes) > 1:
        return _among_classes(model, paths.folder, classes)
    sample = _evenly(paths, MAX_PHOTOS)
    return _among_altered(model, sample, f"of the {len(paths)} in the folder")


def _among_altered(model: ImageEmbedder, paths: Sequence[Path], origin: str) -> DemoResult:
    skipped: dict[str, str] = {}
    kinds = [None, *ALTERATIONS]
    copies: list[tuple[int, str | None]] = []

    def images() -> Iterator[Image.Image]:
        for number, path in enumerate(paths):
            try:
                photo = _load(path)
            except BadImageError as error:
                skipped[str(path)] = error.reason
                continue
            for kind in kinds:
                copies.append((number, kind))
                yield _altered(photo, kind)

    descriptor_of = _embedded(model, images(), len(paths) * len(kinds))
    if len(copies) < 2 * len(kinds):
        raise ValueError(
            f"The demo needs at least two readable photographs; of {len(paths)} files,"
            f" {len(paths) - len(skipped)} can be read."
        )
    descriptors = np.array([descriptor_of[row] for row in range(len(copies))], np.float32)
    numbers = np.array([number for number, _ in copies])
    is_query = np.array([kind is None for _, kind in copies])
    queries, gallery = descriptors[is_query], descriptors[~is_query]
    query_numbers, gallery_numbers = numbers[is_query], numbers[~is_query]
    gallery_kinds = [kind for _, kind in copies if kind is not None]

    def query(row: int) -> Picture:
        path = paths[query_numbers[row]]
        return Picture(path, path.name)

    def result(row: int, other: int, score: float) -> Picture:
        number, kind = gallery_numbers[other], gallery_kinds[other]
        photo, name = _altered(_load(paths[number]), kind), f"{paths[number].stem}, {kind}"
        return Picture(photo, name, score, bool(number == query_numbers[row]))

    scores = query_gallery(queries, query_numbers, gallery, gallery_numbers)
    return DemoResult(
        f"{len(queries)} photographs {origin}, each searched for among {len(ALTERATIONS)} altered"
        f" copies of every one: {', '.join(ALTERATIONS)}. Altered copies are easier to find than"
        " other photographs of the same thing; for those, give a folder with a subfolder for each"
        " place or product.",
        **asdict(scores),
        gallery=len(gallery),
        rows=_rows(len(queries), lambda row: gallery @ queries[row], query, result),
        skipped=skipped,
    )


def _among_classes(
    model: ImageEmbedder, folder: Path, classes: dict[str, list[Path]]
) -> DemoResult:
    names = _evenly(sorted(classes), MAX_CLASS_PHOTOS // 2)
    share = max(2, MAX_CLASS_PHOTOS // len(names))
    sample = [(path, name) for name in names for path in _evenly(classes[name], share)]
    results = _embedded(model, [path for path, _ in sample], len(sample))
    skipped = {
        str(sample[row][0]): result.reason
        for row, result in sorted(results.items())
        if isinstance(result, BadImageError)
    }
    readable = [row for row in range(len(sample)) if str(sample[row][0]) not in skipped]
    if not readable:
        raise ValueError(f"None of the {len(sample)} photographs can be read.")
    descriptors = np.array([results[row] for row in readable], np.float32)
    paths, labels = zip(*(sample[row] for row in readable), strict=True)

    def similarity(row: int) -> np.ndarray:
        to_others = descriptors @ descriptors[row]
        to_others[row] = -np.inf
        return to_others

    def shown(row: int, score: float | None = None, is_right: bool | None = None) -> Picture:
        return Picture(paths[row], paths[row].relative_to(folder).as_posix(), score, is_right)

    def result(row: int, other: int, score: float) -> Picture:
        return shown(other, score, labels[other] == labels[row])

    return DemoResult(
        f"{len(readable)} of {sum(map(len, classes.values()))} photographs in {len(names)} of"
        f" {len(classes)} subfolders, each searched for among all the others; right is what lies"
        " in the same subfolder.",
        **asdict(leave_one_out(descriptors, labels)),
        gallery=len(readable),
        rows=_rows(len(readable), similarity, shown, result),
        skipped=skipped,
    )


def _rows(
    queries: int,
    similarity: Callable[[int], np.ndarray],
    query: Callable[[int], Picture],
    result: Callable[[int, int, float], Picture],
) -> list[tuple[Picture, list[Picture]]]:
    """Return pictures of some queries with their first results; -inf excludes a result."""
    rows = []
    for row in _evenly(range(queries), SHOWN_QUERIES):
        scores = similarity(row)
        order = np.argsort(-scores, kind="stable")[:SHOWN_RESULTS]
        best = [(int(other), float(scores[other])) for other in order if scores[other] > -np.inf]
        rows.append((query(row), [result(row, *found) for found in best]))
    return rows


def _classes(paths: Listing) -> dict[str, list[Path]]:
    """Return the photographs of each class with two or more."""
    below = defaultdict(list)
    for path, name in zip(paths, paths.names, strict=True):
        if "/" in name:
            below[class_of(name)].append(path)
    return {name: group for name, group in below.items() if len(group) > 1}


def _embedded(
    model: ImageEmbedder, images: Iterable[ImageSource], total: int
) -> dict[int, np.ndarray | BadImageError]:
    return dict(track(model.embed_each(images), total, "Embedding"))


def _evenly(items: Sequence[Item], most: int) -> list[Item]:
    """Return at most `most` items, evenly spaced, with the first and the last."""
    if len(items) <= most:
        return list(items)
    return [items[round(number)] for number in np.linspace(0, len(items) - 1, most)]


def _load(path: Path) -> Image.Image:
    photo = load_image(path)
    photo.thumbnail((LONG_SIDE, LONG_SIDE))
    return photo


def _altered(photo: Image.Image, kind: str | None) -> Image.Image:
    return photo if kind is None else ALTERATIONS[kind](photo)


def _part(photo: Image.Image, left: float, top: float, side: float) -> Image.Image:
    """Return a part of the photograph (in shares of its sides), resized to the photograph."""
    width, height = photo.size
    box = (left * width, top * height, (left + side) * width, (top + side) * height)
    return photo.resize(photo.size, Image.Resampling.BICUBIC, box)


def _rotated(photo: Image.Image) -> Image.Image:
    # the part is small enough to exclude the empty corners of the rotation
    return _part(photo.rotate(20, Image.Resampling.BICUBIC), 0.21, 0.21, 0.58)


def _tilted(photo: Image.Image) -> Image.Image:
    width, height = photo.size
    corners = ((0.18, 0.1), (0.0, 0.95), (1.0, 0.8), (0.85, 0.22))
    quad = [value for x, y in corners for value in (x * width, y * height)]
    return photo.transform(photo.size, Image.Transform.QUAD, quad, Image.Resampling.BICUBIC)


def _recoloured(photo: Image.Image) -> Image.Image:
    warm = (1.15, 0.1, 0, 0, 0.05, 0.9, 0.05, 0, 0, 0.1, 0.6, 0)
    return photo.convert("RGB", warm)


def _blurred(photo: Image.Image) -> Image.Image:
    """Return the image out of focus and with the strongest JPEG compression in use."""
    packed = BytesIO()
    photo.filter(ImageFilter.GaussianBlur(min(photo.size) / 150)).save(packed, "JPEG", quality=12)
    return Image.open(packed).convert("RGB")


def _brightened(photo: Image.Image) -> Image.Image:
    return ImageEnhance.Contrast(ImageEnhance.Brightness(photo).enhance(1.35)).enhance(1.5)


ALTERATIONS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "cropped": lambda photo: _part(photo, 0.05, 0.3, 0.6),
    "turned": _rotated,
    "mirrored": lambda photo: _part(ImageOps.mirror(photo), 0.15, 0.1, 0.75),
    "tilted": _tilted,
    "darkened": lambda photo: ImageEnhance.Brightness(photo).enhance(0.4),
    "brightened": _brightened,
    "recoloured": _recoloured,
    "blurred": _blurred,
}
"""The demo's alterations of a photograph; each keeps the size."""
