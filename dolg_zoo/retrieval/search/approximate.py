"""Approximate search: faiss finds a shortlist quickly, and exact cosines rank it.

faiss stores codes of at most a quarter of the descriptors' size. A search reads the descriptors of
the shortlist only.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from dolg_zoo._util.arguments import one_of
from dolg_zoo.retrieval.search.exact import Exact

logger = logging.getLogger(__name__)

KINDS = ("exact", "hnsw", "ivfpq")
EXACT_UP_TO = 200_000
"""Rows up to which "auto" is exact: a query takes less than 0.1 s on one core of a laptop, the time
to read the rows from memory."""
HNSW_UP_TO = 5_000_000
"""Rows up to which "auto" takes HNSW. For more rows its graph takes hours to build and several GB
of memory; IVF-PQ takes a fifth of both."""

LEAST = 256
"""Rows below which every kind is exact: too few rows to train on, and exact search is fast."""

RECALL_AT = 10
SAMPLE = 200
"""Rows to measure recall with: they have 2000 neighbours, so the error at 0.95 is 0.01."""

_FIRST = {"hnsw": {"efSearch": 32}, "ivfpq": {"nprobe": 8, "shortlist": 64}}
MOST = 4096  # rows of the longest shortlist


def kind_for(rows: int, kind: str) -> str:
    """Return the kind of search for a number of rows; ValueError if `kind` is unknown."""
    one_of("kind", kind, ("auto", *KINDS))
    if rows < LEAST:
        return "exact"
    if kind != "auto":
        return kind
    return "exact" if rows <= EXACT_UP_TO else "hnsw" if rows <= HNSW_UP_TO else "ivfpq"


@dataclass
class Approximate:
    """Approximate search among unit rows, with the methods of `Exact`."""

    # "hnsw": Malkov and Yashunin, 2016, arXiv 1603.09320, over 8-bit codes. "ivfpq": Jégou et al.,
    # 2011, 4 bits for each 2 dimensions. Equal rows share a number. With a number each, they would
    # be each other's only neighbours in faiss' graph, and a search would not get past them.

    kind: str
    descriptors: np.ndarray  # (rows, dim), float32, unit rows
    faiss_index: Any
    numbers: np.ndarray  # (rows,), int64: each row's number in `faiss_index`
    asked: float  # the requested recall
    parameters: dict[str, int]  # the search effort: "efSearch", or "nprobe" and "shortlist"
    recall: float | None = None  # share of the ten nearest rows in the results; None: not measured

    def __post_init__(self) -> None:
        self._order = np.argsort(self.numbers, kind="stable")
        self._sorted = self.numbers[self._order]
        starts = np.flatnonzero(np.diff(self._sorted, prepend=-1))
        # ascending indices of the rows that are not equal to an earlier row
        self.different: np.ndarray = np.sort(self._order[starts])

    @classmethod
    def build(cls, kind: str, descriptors: np.ndarray, asked: float) -> Exact | Approximate:
        """Build faiss' index and tune it for the recall; exact if few descriptors differ."""
        different, numbers = np.unique(first_equal(descriptors), return_inverse=True)
        if len(different) < LEAST:
            return Exact(descriptors)
        index = _trained(kind, descriptors, different)
        _add(index, descriptors, different)
        built = cls(kind, descriptors, index, numbers, asked, dict(_FIRST[kind]))
        built.tune()
        return built

    def changed(self, kept: np.ndarray, descriptors: np.ndarray) -> Exact | Approximate:
        """Return the search after some rows were removed and others added."""
        # `kept`: ascending indices of the rows that stay. `descriptors`: these rows, then the new
        # rows. faiss cannot remove rows from its graph, so a search skips removed rows. When they
        # are a third of the graph, it is built again.
        first = first_equal(descriptors)
        different = np.unique(first)
        if len(different) < LEAST:
            return Exact(descriptors)
        new = different[different >= len(kept)]
        total = self.faiss_index.ntotal + len(new)
        if len(different) < total * 2 / 3:
            return Approximate.build(self.kind, descriptors, self.asked)
        numbers = np.empty(len(descriptors), np.int64)
        numbers[: len(kept)] = self.numbers[kept]
        numbers[new] = np.arange(self.faiss_index.ntotal, total)
        numbers[len(kept) :] = numbers[first[len(kept) :]]
        _add(self.faiss_index, descriptors, new)
        parameters = dict(_FIRST[self.kind])
        changed = replace(self, descriptors=descriptors, numbers=numbers, parameters=parameters)
        changed.tune()
        return changed

    @property
    def equal_to(self) -> np.ndarray:
        """For each row, the index of the first row that equals it."""
        return self._order[np.searchsorted(self._sorted, self.numbers)]

    def search(
        self, queries: np.ndarray, k: int, once: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """Search like `Exact.search`; index and score are -1 after the last result."""
        # With `once`, a result has the first of equal rows only.
        k = min(k, len(self.descriptors))
        scores = np.full((len(queries), k), -1, np.float32)
        indices = np.full((len(queries), k), -1, np.int64)
        if not k:
            return scores, indices
        for row, numbers in enumerate(self._shortlists(queries, k)):
            shortlist = self._rows_of(numbers, 1 if once else k)
            cosines = self.descriptors[shortlist] @ queries[row]
            best = np.argsort(-cosines, kind="stable")[:k]
            scores[row, : len(best)], indices[row, : len(best)] = cosines[best], shortlist[best]
        return scores, indices

    def _rows_of(self, numbers: np.ndarray, most: int) -> np.ndarray:
        """Return the ascending indices of rows with these numbers, `most` rows per number."""
        starts = np.searchsorted(self._sorted, numbers)
        counts = np.searchsorted(self._sorted, numbers, "right") - starts  # 0: a removed row
        counts = np.minimum(counts, most)
        ends = np.cumsum(counts)
        return np.sort(self._order[np.repeat(starts - ends + counts, counts) + np.arange(ends[-1])])

    def within(
        self, queries: np.ndarray, threshold: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Search exactly, like `Exact.within`: the length of a shortlist would be unknown."""
        return Exact(self.descriptors).within(queries, threshold)

    def tune(self) -> None:
        """Raise the search effort until the requested recall is reached; warn if it is not."""
        # The gallery's images may miss half of the allowed share only: other queries miss more.
        queries, tenth_cosines = _sample(self.descriptors, self.different)
        aim = (1 + self.asked) / 2
        shares = self._measured(queries, tenth_cosines)
        while _at_least(shares) < aim:
            trials = [
                replace(self, parameters={**self.parameters, name: 2 * value})
                for name, value in self.parameters.items()
                if value < (self.faiss_index.nlist if name == "nprobe" else MOST)
            ]
            if not trials:
                break
            shares, self.parameters = max(
                ((trial._measured(queries, tenth_cosines), trial.parameters) for trial in trials),
                key=lambda measured: measured[0].mean(),
            )
        self.recall = float(shares.mean())
        if self.recall < self.asked:
            logger.warning(
                "The search finds %.3f of the ten nearest images, but %.3f were asked for. An"
                ' index of the kind "exact" finds all of them.',
                self.recall,
                self.asked,
            )

    def _measured(self, queries: np.ndarray, tenth_cosines: np.ndarray) -> np.ndarray:
        """Return for each query the share of results as near as its tenth nearest neighbour."""
        scores, indices = self.search(self.descriptors[queries], RECALL_AT + 1)
        others = (indices >= 0) & (indices != queries[:, None])
        hits = (others & (scores >= tenth_cosines[:, None] - 1e-6)).sum(axis=1)
        return np.minimum(hits, RECALL_AT) / RECALL_AT

    def _shortlists(self, queries: np.ndarray, k: int) -> np.ndarray:
        import faiss

        removed = self.faiss_index.ntotal - len(self.different)
        if self.kind == "hnsw":
            length = max(self.parameters["efSearch"], k)
            options = faiss.SearchParametersHNSW(efSearch=length + min(removed, length))
        else:
            length = max(self.parameters["shortlist"], k)
            options = faiss.SearchParametersIVF(nprobe=self.parameters["nprobe"])
        length = min(length + min(removed, length), self.faiss_index.ntotal)
        _, numbers = self.faiss_index.search(queries, length, params=options)
        return numbers


def _at_least(shares: np.ndarray) -> float:
    """Return a lower confidence bound of the mean of a sample of shares."""
    return float(shares.mean() - 2 * shares.std() / len(shares) ** 0.5)


def check(index: Any, kind: str, dim: int, numbers: np.ndarray) -> None:
    """Raise ValueError if faiss' index has another kind or dimension, or lacks a number."""
    import faiss

    index_class = faiss.IndexHNSWSQ if kind == "hnsw" else faiss.IndexIVFPQFastScan
    if type(index) is not index_class or index.d != dim or not index.is_trained:
        raise ValueError(f"it holds a {type(index).__name__} of {index.d} dimensions")
    if index.metric_type != faiss.METRIC_INNER_PRODUCT:
        raise ValueError("it does not compare by inner product")
    if len(numbers) and not (numbers.min() >= 0 and numbers.max() < index.ntotal):
        raise ValueError("it lacks rows of the items")
    if kind == "hnsw":
        neighbours = faiss.vector_to_array(index.hnsw.neighbors)
        if not ((neighbours >= -1) & (neighbours < index.ntotal)).all():
            raise ValueError("its graph leads to rows that are not there")


def check_parameters(parameters: object, kind: str) -> None:
    """Raise ValueError if the parameters are invalid for this kind of search."""
    if (
        not isinstance(parameters, dict)
        or parameters.keys() != _FIRST[kind].keys()
        or not all(type(value) is int and 0 < value < 2**31 for value in parameters.values())
    ):
        raise ValueError(f"parameters is {parameters!r:.80}")


def write(index: Any, file: IO[bytes]) -> None:
    """Write faiss' index to a file that `read` reads."""
    import faiss

    faiss.write_index(index, faiss.PyCallbackIOWriter(file.write))


def read(path: Path) -> Any:
    """Read a file of `faiss.write_index`; raise ValueError if faiss cannot."""
    import faiss

    try:
        return faiss.read_index(str(path))
    except RuntimeError as error:
        raise ValueError(f"faiss cannot read it: {str(error)[:300]}") from error


def first_equal(descriptors: np.ndarray) -> np.ndarray:
    """Return for each row the index of the first row that equals it."""
    random = np.random.default_rng(0)
    factors = random.integers(2**63, size=descriptors.shape[1], dtype=np.uint64) | np.uint64(1)
    hashes = np.empty(len(descriptors), np.uint64)
    for start in range(0, len(descriptors), 8192):
        words = np.ascontiguousarray(descriptors[start : start + 8192], np.float32).view(np.uint32)
        hashes[start : start + 8192] = words.astype(np.uint64) @ factors
    _, firsts, groups = np.unique(hashes, return_index=True, return_inverse=True)
    first = firsts[groups]
    own = np.arange(len(descriptors))
    copies = np.flatnonzero(first != own)
    for start in range(0, len(copies), 8192):  # different rows may have the same hash
        block = copies[start : start + 8192]
        differing = block[(descriptors[block] != descriptors[first[block]]).any(axis=1)]
        first[differing] = differing
    return first


def _trained(kind: str, descriptors: np.ndarray, different: np.ndarray) -> Any:
    import faiss

    rows, dim = len(different), descriptors.shape[1]
    if kind == "hnsw":
        index = faiss.index_factory(dim, "HNSW32_SQ8", faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = 80
    else:
        # faiss wants 40 rows for each cell to train on.
        cells = max(1, min(int(4 * rows**0.5), rows // 40))
        pieces = dim // 2 if dim % 2 == 0 else dim
        index = faiss.index_factory(dim, f"IVF{cells},PQ{pieces}x4fs", faiss.METRIC_INNER_PRODUCT)
        cells = max(cells, 64)
    count = rows if kind == "hnsw" else 64 * cells
    count = min(rows, count, 500_000)
    indices = different[np.sort(np.random.default_rng(0).choice(rows, count, replace=False))]
    index.train(np.ascontiguousarray(descriptors[indices]))
    return index


def _add(index: Any, descriptors: np.ndarray, rows: np.ndarray) -> None:
    for start in range(0, len(rows), 2**16):
        index.add(np.ascontiguousarray(descriptors[rows[start : start + 2**16]]))


def _sample(descriptors: np.ndarray, different: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a sample of rows (indices), and the cosine of each row's tenth nearest neighbour."""
    rows = len(different)
    indices = different[np.sort(np.random.default_rng(0).choice(rows, SAMPLE, replace=False))]
    scores, rows_found = Exact(descriptors).search(descriptors[indices], RECALL_AT + 1)
    other_scores = np.where(rows_found == indices[:, None], -np.inf, scores)
    return indices, -np.sort(-other_scores, axis=1)[:, RECALL_AT - 1]
