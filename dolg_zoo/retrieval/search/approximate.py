"""Approximate search: faiss finds a shortlist in a fraction of the time, and exact cosines rank it.

faiss keeps codes of the descriptors, a quarter of their size or less; the descriptors themselves
stay where they are, and only the rows of the shortlists are read.
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
"""Rows up to which "auto" is exact: one query then takes less than 0.1 s of a laptop's core, which
is the time it takes to read the rows from memory."""
HNSW_UP_TO = 5_000_000
"""Rows up to which "auto" takes HNSW: beyond, its graph takes hours to build and, with the codes,
several GB of memory; IVF-PQ takes a fifth of both."""

LEAST = 256
"""Rows below which every kind is exact: there are too few to train on, and nothing to gain."""

RECALL_AT = 10
SAMPLE = 200
"""Rows whose neighbours are sought to measure recall: 2000 neighbours, so 0.95 is known to 0.01."""

_FIRST = {"hnsw": {"efSearch": 32}, "ivfpq": {"nprobe": 8, "shortlist": 64}}
MOST = 4096  # rows of a shortlist


def kind_for(rows: int, kind: str) -> str:
    """Return the kind of search for so many rows.

    Raises:
        ValueError: if there is no such kind.
    """
    one_of("kind", kind, ("auto", *KINDS))
    if rows < LEAST:
        return "exact"
    if kind != "auto":
        return kind
    return "exact" if rows <= EXACT_UP_TO else "hnsw" if rows <= HNSW_UP_TO else "ivfpq"


@dataclass
class Approximate:
    """Approximate search among unit rows; takes the place of `Exact`.

    Attributes:
        kind: "hnsw" (Malkov and Yashunin, 2016, arXiv 1603.09320; over 8-bit codes) or "ivfpq"
            (Jégou et al., 2011; 4 bits for each 2 dimensions).
        descriptors: (rows, dim), float32, each row of norm 1.
        faiss_index: the index of faiss.
        numbers: (rows,), int64, ascending: the number of each row in `faiss_index`, which keeps the
            numbers of rows that were removed.
        asked: the recall that was asked for.
        parameters: the search effort: "efSearch", or "nprobe" and "shortlist".
        recall: the share of the ten nearest others that is found, measured on some of the rows
            themselves; None before it was measured.
    """

    kind: str
    descriptors: np.ndarray
    faiss_index: Any
    numbers: np.ndarray
    asked: float
    parameters: dict[str, int]
    recall: float | None = None

    @classmethod
    def build(cls, kind: str, descriptors: np.ndarray, asked: float) -> Approximate:
        """Has faiss take in the descriptors, then searches as far as the recall asks for."""
        built = cls(
            kind,
            descriptors,
            _trained(kind, descriptors),
            np.arange(len(descriptors)),
            asked,
            dict(_FIRST[kind]),
        )
        _add(built.faiss_index, descriptors)
        built.tune()
        return built

    def changed(self, kept: np.ndarray, descriptors: np.ndarray) -> Exact | Approximate:
        """Return the search after some rows were removed and others added.

        faiss' graph cannot lose rows: those removed stay in it and are passed over, until they are
        a third of it. Then it is built anew.

        Args:
            kept: the indices, ascending, of the rows that stay.
            descriptors: (rows, dim): those that stay, and after them the new ones.
        """
        if len(descriptors) < LEAST:
            return Exact(descriptors)
        total = self.faiss_index.ntotal + len(descriptors) - len(kept)
        if len(descriptors) < total * 2 / 3:
            return Approximate.build(self.kind, descriptors, self.asked)
        numbers = np.concatenate([self.numbers[kept], np.arange(self.faiss_index.ntotal, total)])
        _add(self.faiss_index, descriptors[len(kept) :])
        first = dict(_FIRST[self.kind])
        changed = replace(self, descriptors=descriptors, numbers=numbers, parameters=first)
        changed.tune()
        return changed

    def search(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Like `Exact.search`, but for an index of -1, and a score of -1, where none was found."""
        k = min(k, len(self.descriptors))
        scores = np.full((len(queries), k), -1, np.float32)
        indices = np.full((len(queries), k), -1, np.int64)
        if not k:
            return scores, indices
        for row, numbers in enumerate(self._shortlists(queries, k)):
            found = np.minimum(np.searchsorted(self.numbers, numbers), len(self.numbers) - 1)
            found = np.sort(found[self.numbers[found] == numbers])  # the others were removed
            cosines = self.descriptors[found] @ queries[row]
            best = np.argsort(-cosines, kind="stable")[:k]
            scores[row, : len(best)], indices[row, : len(best)] = cosines[best], found[best]
        return scores, indices

    def within(
        self, queries: np.ndarray, threshold: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """As `Exact.within`, and as exact: how many there will be, no shortlist can know."""
        return Exact(self.descriptors).within(queries, threshold)

    def tune(self) -> None:
        """Search farther and farther until the recall is reached, or says that it is not.

        It lets its own images miss but half of what may be missed: queries from elsewhere, which
        the index was not made of, miss more.
        """
        queries, wanted = _sample(self.descriptors)
        aim = (1 + self.asked) / 2
        shares = self._measured(queries, wanted)
        while _at_least(shares) < aim:
            trials = [
                replace(self, parameters={**self.parameters, name: 2 * value})
                for name, value in self.parameters.items()
                if value < (self.faiss_index.nlist if name == "nprobe" else MOST)
            ]
            if not trials:
                break
            shares, self.parameters = max(
                ((trial._measured(queries, wanted), trial.parameters) for trial in trials),
                key=lambda measured: measured[0].mean(),
            )
        self.recall = float(shares.mean())
        if self.recall < self.asked:
            repeated = len(self.descriptors) - _different(self.descriptors)
            logger.warning(
                "The search finds %.3f of the ten nearest images, and %.3f were asked for. An"
                ' index of the kind "exact" finds all of them.%s',
                self.recall,
                self.asked,
                f" {repeated} images are copies of others, which hide the rest: `dolg dedupe` lists"
                " them."
                if repeated > len(self.descriptors) / 100
                else "",
            )

    def _measured(self, queries: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        """For each query the share of neighbours as near as the true ones are at least."""
        scores, indices = self.search(self.descriptors[queries], RECALL_AT + 1)
        others = (indices >= 0) & (indices != queries[:, None])
        hits = (others & (scores >= wanted[:, None] - 1e-6)).sum(axis=1)
        return np.minimum(hits, RECALL_AT) / RECALL_AT

    def _shortlists(self, queries: np.ndarray, k: int) -> np.ndarray:
        import faiss

        removed = self.faiss_index.ntotal - len(self.numbers)
        if self.kind == "hnsw":
            length = max(self.parameters["efSearch"], k)
            options = faiss.SearchParametersHNSW(efSearch=length + min(removed, length))
        else:
            length = max(self.parameters["shortlist"], k)
            options = faiss.SearchParametersIVF(nprobe=self.parameters["nprobe"])
        length = min(length + min(removed, length), self.faiss_index.ntotal)
        _, numbers = self.faiss_index.search(queries, length, params=options)
        return numbers


def _different(descriptors: np.ndarray) -> int:
    """Return how many rows differ from each other; equal in two dimensions is equal in all."""
    pairs = np.ascontiguousarray(descriptors[:, :2]).view(np.int64)
    return len(np.unique(pairs))


def _at_least(shares: np.ndarray) -> float:
    """Return a lower confidence bound of the mean share, of which these are a sample."""
    return float(shares.mean() - 2 * shares.std() / len(shares) ** 0.5)


def check(index: Any, kind: str, dim: int, numbers: np.ndarray) -> None:
    """Raise ValueError, in words, if what faiss read is no index of the kind and the numbers."""
    import faiss

    wanted = faiss.IndexHNSWSQ if kind == "hnsw" else faiss.IndexIVFPQFastScan
    if type(index) is not wanted or index.d != dim or not index.is_trained:
        raise ValueError(f"it holds a {type(index).__name__} of {index.d} dimensions")
    if index.metric_type != faiss.METRIC_INNER_PRODUCT:
        raise ValueError("it does not compare by inner product")
    if len(numbers) and not (
        numbers[0] >= 0 and numbers[-1] < index.ntotal and (np.diff(numbers) > 0).all()
    ):
        raise ValueError("its rows are not those of the items")
    if kind == "hnsw":
        neighbours = faiss.vector_to_array(index.hnsw.neighbors)
        if not ((neighbours >= -1) & (neighbours < index.ntotal)).all():
            raise ValueError("its graph leads to rows that are not there")


def check_parameters(parameters: object, kind: str) -> None:
    """Raise ValueError if these are no parameters of a search of that kind."""
    if (
        not isinstance(parameters, dict)
        or parameters.keys() != _FIRST[kind].keys()
        or not all(type(value) is int and 0 < value < 2**31 for value in parameters.values())
    ):
        raise ValueError(f"parameters is {parameters!r:.80}")


def write(index: Any, file: IO[bytes]) -> None:
    """Write what `read` reads."""
    import faiss

    faiss.write_index(index, faiss.PyCallbackIOWriter(file.write))


def read(path: Path) -> Any:
    """Read what `faiss.write_index` wrote.

    Raises:
        ValueError: if faiss cannot read it.
    """
    import faiss

    try:
        return faiss.read_index(str(path))
    except RuntimeError as error:
        raise ValueError(f"faiss cannot read it: {str(error)[:300]}") from error


def _trained(kind: str, descriptors: np.ndarray) -> Any:
    import faiss

    rows, dim = descriptors.shape
    if kind == "hnsw":
        index = faiss.index_factory(dim, "HNSW32_SQ8", faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = 80
    else:
        # 40 rows a cell are what faiss asks for to train it
        cells = max(1, min(int(4 * rows**0.5), rows // 40))
        pieces = dim // 2 if dim % 2 == 0 else dim
        index = faiss.index_factory(dim, f"IVF{cells},PQ{pieces}x4fs", faiss.METRIC_INNER_PRODUCT)
        cells = max(cells, 64)
    some = rows if kind == "hnsw" else 64 * cells
    some = min(rows, some, 500_000)
    indices = np.sort(np.random.default_rng(0).choice(rows, some, replace=False))
    index.train(np.ascontiguousarray(descriptors[indices]))
    return index


def _add(index: Any, descriptors: np.ndarray) -> None:
    for start in range(0, len(descriptors), 2**16):
        index.add(np.ascontiguousarray(descriptors[start : start + 2**16]))


def _sample(descriptors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return some indices, and the cosine of each one's tenth nearest other."""
    rows = len(descriptors)
    indices = np.sort(np.random.default_rng(0).choice(rows, SAMPLE, replace=False))
    scores, found = Exact(descriptors).search(descriptors[indices], RECALL_AT + 1)
    others = np.where(found == indices[:, None], -np.inf, scores)
    return indices, -np.sort(-others, axis=1)[:, RECALL_AT - 1]
