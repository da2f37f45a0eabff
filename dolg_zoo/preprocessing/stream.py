"""Decoding ahead of the network in threads, and batching of arrays that differ in shape."""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

from dolg_zoo.errors import BadImageError

Source = TypeVar("Source")
Result = TypeVar("Result")
Key = TypeVar("Key", bound=Hashable)


def decode_ahead(
    sources: Iterable[Source],
    work: Callable[[Source], Result],
    *,
    workers: int | None = None,
    ahead: int = 32,
) -> Iterator[tuple[int, Source, Result | BadImageError]]:
    """Run `work` on each source in threads, and yield the results in the order of the sources.

    At most `ahead` sources are read before their results are used, so a million sources need no
    more memory than a hundred. When the consumer stops, or an error or Ctrl-C occurs, waiting
    sources are dropped, and the call waits for the threads.

    Args:
        sources: the items to work on; may be a generator.
        work: called with one source, in a thread; for example, to load and resize an image.
        workers: number of threads. None: one per core, up to 8, since each may hold a whole decoded
            image.
        ahead: maximum number of sources that are read but not yet yielded, at least 1.

    Yields:
        (index, source, result); if `work` raised BadImageError, the result is that error. Any
        other error is raised here, in the order of the sources.
    """
    if ahead < 1:
        raise ValueError(f"ahead must be at least 1, not {ahead}")

    def attempt(source: Source) -> Result | BadImageError:
        try:
            return work(source)
        except BadImageError as error:
            # The frames in the traceback would keep the image in memory.
            return error.with_traceback(None)

    pool = ThreadPoolExecutor(workers or min(8, os.cpu_count() or 1), "decode")
    waiting: deque[Any] = deque()
    try:
        for index, source in enumerate(sources):
            waiting.append((index, source, pool.submit(attempt, source)))
            if len(waiting) == ahead:
                yield _first(waiting)
        while waiting:
            yield _first(waiting)
    finally:
        pool.shutdown(cancel_futures=True)


def _first(waiting: deque[Any]) -> tuple[Any, ...]:
    index, source, future = waiting.popleft()
    return index, source, future.result()


def batch_by_shape(
    arrays: Iterable[tuple[Key, np.ndarray]],
    batch_size: int,
    max_pending: int,
    max_pixels: int | None = None,
) -> Iterator[tuple[list[Key], np.ndarray]]:
    """Gather arrays of equal shape into batches.

    A batch is yielded when there are `batch_size` arrays of one shape, or fewer if more would
    exceed `max_pixels`. When more than `max_pending` arrays wait, or four times `max_pixels`, the
    largest group is yielded incomplete; at the end all groups are. So every array is in exactly
    one batch, but batches do not keep the order.

    Args:
        arrays: keys and arrays of shape (height, width, channels).
        batch_size: maximum number of arrays in a batch.
        max_pending: maximum number of waiting arrays.
        max_pixels: maximum number of pixels in a batch, unless one array alone has more; None for
            no limit.

    Yields:
        (keys, stacked): the keys of a batch and its arrays, of shape (len(keys), ...).
    """
    if batch_size < 1 or max_pending < 1:
        raise ValueError(
            f"batch_size and max_pending must be at least 1, not {batch_size} and {max_pending}"
        )
    groups: dict[tuple[int, ...], list[tuple[Key, np.ndarray]]] = {}
    pending = pixels = 0
    for key, array in arrays:
        group = groups.setdefault(array.shape, [])
        group.append((key, array))
        pending += 1
        pixels += _pixels(group[:1])
        full = max_pixels and _pixels(group) + _pixels(group[:1]) > max_pixels
        if len(group) < batch_size and not full:
            crowded = pending > max_pending or (max_pixels and pixels > 4 * max_pixels)
            if not crowded:
                continue
            group = max(groups.values(), key=_pixels if max_pixels else len)
        pending -= len(group)
        pixels -= _pixels(group)
        yield _stack(groups.pop(group[0][1].shape))
    for group in groups.values():
        yield _stack(group)


def _pixels(group: list[tuple[Key, np.ndarray]]) -> int:
    return len(group) * math.prod(group[0][1].shape[:2])


def _stack(group: list[tuple[Key, np.ndarray]]) -> tuple[list[Key], np.ndarray]:
    keys, arrays = zip(*group, strict=True)
    return list(keys), np.stack(arrays)
