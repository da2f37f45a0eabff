"""How fast is the search, how much does it find, and how does it grow?

    python tools/benchmark.py retrieval --json retrieval.json

The descriptors are synthetic: groups of some twenty that lie near each other, as photographs of one
place do, in a space of 64 dimensions turned into 512. Exact search is timed beside NumPy's own
(a matrix product, then argpartition) and the search of faiss' flat index, in turn. Its memory is
measured in a process of its own. What approximate search finds is counted against the exact
neighbours of queries that it has not been tuned on. The evaluation is of synthetic descriptors in
the numbers of Revisited Paris, with as many distractors as there are rows.

With `--photos DIR` the extraction of these photographs is timed as well, from the files to the
store, beside the bare network on the same images as arrays: what it takes more is what is not the
network.
"""

import itertools
import multiprocessing
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

import dolg_zoo
from benchmarks.common import in_turn, peak, ratio, timed, write_json
from dolg_zoo.evaluation.revisited.ground_truth import GroundTruth
from dolg_zoo.evaluation.revisited.scores import revisited_scores
from dolg_zoo.preprocessing import batch_by_shape, list_images, load_image
from dolg_zoo.retrieval import DescriptorStore, extract
from dolg_zoo.retrieval.search.approximate import Approximate
from dolg_zoo.retrieval.search.exact import Exact

DIM, LATENT, GROUP = 512, 64, 20
QUERIES, K = 100, 10
PARIS = {"queries": 70, "gallery": 6322, "easy": 98, "hard": 145, "junk": 120}
"""Numbers of queries and images, and about how many images a query has of each kind."""


def add_arguments(parser):
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--kinds", nargs="*", default=["hnsw", "ivfpq"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    parser.add_argument("--photos", type=Path, help="a folder of JPEG files")
    parser.add_argument("--preset", help="to extract with, if not the embedded one")


def run(arguments):
    found = {"cores": psutil.cpu_count(), "dim": DIM, "queries": QUERIES, "k": K, "sizes": []}
    with tempfile.TemporaryDirectory() as scratch:
        for rows in arguments.rows:
            file = Path(scratch, f"{rows}.npy")
            np.save(file, synthetic(rows, seed=0))
            found["sizes"].append(measure(file, arguments.kinds, arguments.rounds))
            print(markdown(found["sizes"][-1]), flush=True)
            write_json(arguments.json, found)
        found["evaluation"] = evaluation(Path(scratch), max(arguments.rows))
        print(f"\nevaluation: {found['evaluation']}", flush=True)
        if arguments.photos:
            found["extraction"] = extraction(arguments, Path(scratch))
            print(f"\nextraction: {found['extraction']}")
    write_json(arguments.json, found)


def synthetic(rows, seed, dim=DIM):
    """(rows, dim) float32, unit rows; of one distribution, whatever the seed."""
    turn = np.linalg.qr(np.random.default_rng(99).standard_normal((dim, LATENT)))[0]
    rng = np.random.default_rng([1, seed])
    made = np.empty((rows, dim), np.float32)
    for start in range(0, rows, 2**16):
        count = min(2**16, rows - start)
        groups = rng.standard_normal((-(-count // GROUP), LATENT))
        latent = np.repeat(groups, GROUP, axis=0)[:count] + 0.5 * rng.standard_normal(
            (count, LATENT)
        )
        part = latent @ turn.T + 0.02 * rng.standard_normal((count, dim))
        made[start : start + count] = part / np.linalg.norm(part, axis=1, keepdims=True)
    return made


def near(descriptors, seed):
    """Queries that each lie near some row."""
    rng = np.random.default_rng([2, seed])
    rows = descriptors[np.sort(rng.choice(len(descriptors), QUERIES, replace=False))]
    moved = rows + 0.4 * synthetic(QUERIES, seed=1000 + seed)
    return (moved / np.linalg.norm(moved, axis=1, keepdims=True)).astype(np.float32)


def measure(file, kinds, rounds):
    """All figures of one size."""
    descriptors = np.load(file, mmap_mode="r")
    queries = near(descriptors, seed=0)
    exact = Exact(descriptors)
    times = in_turn(
        {
            "NumPy": timed(lambda: by_numpy(descriptors, queries)),
            "exact": timed(lambda: exact.search(queries, K)),
            "faiss": timed(lambda: by_faiss(descriptors, queries)),
            "exact, one query": timed(lambda: exact.search(queries[:1], K)),
            "faiss, one query": timed(lambda: by_faiss(descriptors, queries[:1])),
        },
        rounds,
    )
    wanted = by_numpy(descriptors, queries)[0]
    assert np.allclose(exact.search(queries, K)[0], wanted, atol=1e-5)
    assert np.allclose(by_faiss(descriptors, queries)[0], wanted, atol=1e-5)
    found = {
        "rows": len(descriptors),
        "exact": {
            "seconds": times,
            "NumPy takes times as long": ratio(times, "NumPy", "exact"),
            "faiss takes times as long": ratio(times, "faiss", "exact"),
            "faiss takes times as long, one query": ratio(
                times, "faiss, one query", "exact, one query"
            ),
            "peak memory / data": in_a_process(peak_of_exact, file),
        },
    }
    for kind in kinds:
        begin = time.perf_counter()
        index = Approximate.build(kind, descriptors, 0.95)
        built = time.perf_counter() - begin
        times = in_turn(
            {
                "exact": timed(lambda: exact.search(queries, K)),
                kind: timed(lambda index=index: index.search(queries, K)),
            },
            rounds,
        )
        scores, _ = index.search(queries, K)
        found[kind] = {
            "seconds to build": round(built, 1),
            "seconds": times,
            "times as fast as exact": ratio(times, "exact", kind),
            # of equally near ones any may be found
            "recall@10": float((scores >= wanted[:, -1:] - 1e-6).mean()),
            "recall@10 measured at build": index.recall,
            "parameters": index.parameters,
        }
    return found


def by_faiss(descriptors, queries):
    """(scores, rows) of the K nearest by the search of faiss' flat index, without its copy."""
    import faiss

    return faiss.knn(queries, descriptors, K, faiss.METRIC_INNER_PRODUCT)


def by_numpy(descriptors, queries):
    """(scores, rows) of the K nearest, best first: what one writes without a library."""
    scores = queries @ descriptors.T
    rows = np.argpartition(scores, -K, axis=1)[:, -K:]
    best = np.take_along_axis(scores, rows, axis=1)
    order = np.argsort(-best, axis=1)
    return np.take_along_axis(best, order, axis=1), np.take_along_axis(rows, order, axis=1)


def in_a_process(work, *arguments):
    """What the function returns in a new process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, arguments)


def peak_of_exact(file):
    """Of a search of descriptors mapped from a file, whose pages count as they are read."""
    descriptors = np.load(file, mmap_mode="r")
    queries = synthetic(QUERIES, seed=3)
    Exact(descriptors[:1]).search(queries, 1)  # with what is imported at first use
    before = psutil.Process().memory_info().rss
    Exact(descriptors).search(queries, K)
    return round((peak() - before) / descriptors.nbytes, 3)


def evaluation(folder, rows):
    """Of synthetic descriptors in the numbers of RParis6k, with so many distractors."""
    settings = {"model_id": "0" * 32, "model_name": "synthetic", "scales": (1.0,)}
    store = DescriptorStore.create(folder / "distractors", dim=DIM, **settings)
    for start in range(0, rows, 50_000):
        count = min(50_000, rows - start)
        names = [f"{start + i:07d}.jpg" for i in range(count)]
        store.append(names, synthetic(count, seed=10 + start))
    seconds, memory, scores = in_a_process(evaluate, store.folder)
    return {"distractors": rows, "seconds": seconds, "peak GiB": memory, "mAP": scores}


def evaluate(folder):
    """Seconds, memory and scores of an evaluation with the distractors of a store."""
    rng = np.random.default_rng(0)
    queries, gallery = synthetic(PARIS["queries"], seed=4), synthetic(PARIS["gallery"], seed=5)
    kinds = {"easy": [], "hard": [], "junk": []}
    for row in queries:
        counts = [PARIS[kind] for kind in kinds]
        parts = np.split(rng.permutation(len(gallery))[: sum(counts)], np.cumsum(counts)[:-1])
        for (kind, lists), rows in zip(kinds.items(), parts, strict=True):
            lists.append(np.sort(rows))
            gallery[rows] += {"easy": 0.6, "hard": 0.3, "junk": 0.1}[kind] * row
    gallery /= np.linalg.norm(gallery, axis=1, keepdims=True)
    names = [str(i) for i in range(len(gallery))], [f"q{i}" for i in range(len(queries))]
    truth = GroundTruth(*names, [(0, 0, 1, 1)] * len(queries), **kinds, sha256="")
    begin = time.perf_counter()
    distractors = (part for _, part in DescriptorStore.open(folder).parts())
    scores = revisited_scores(truth, queries, gallery, distractors)
    seconds = round(time.perf_counter() - begin, 1)
    found = {setup: round(score.map, 4) for setup, score in scores.items()}
    return seconds, round(peak() / 2**30, 2), found


def extraction(arguments, scratch):
    """Photographs a second, and the share that is not the network."""
    model, photos = dolg_zoo.DOLG.from_preset(arguments.preset), arguments.photos
    files = list_images(photos)
    arrays = [(i, model.image_converter(load_image(file))) for i, file in enumerate(files)]
    batches = [batch for _, batch in batch_by_shape(iter(arrays), 16, 64)]
    infer = model.routed().infer  # by the route that extraction takes
    stores = (scratch / f"store-{number}" for number in itertools.count())

    def network():
        for batch in batches:
            infer(batch)

    times = in_turn(
        {
            "network": timed(network),
            "files to store": timed(lambda: extract(model, photos, next(stores), progress=False)),
        },
        arguments.rounds,
    )
    network, whole = (times[side]["median"] for side in ("network", "files to store"))
    return {
        "photographs": len(files),
        "a second": round(len(files) / whole, 1),
        "a second, network alone": round(len(files) / network, 1),
        "share that is not the network": round(1 - network / whole, 3),
        "seconds": times,
    }


def markdown(found):
    """A few lines of a table."""
    exact = found["exact"]
    lines = [
        f"\n### {found['rows']:,} × {DIM}, {QUERIES} queries\n",
        "| | seconds (min to max) | | recall@10 | build |",
        "| --- | --- | --- | --- | --- |",
    ]

    def line(name, times, times_as_fast, recall="1", build=""):
        spread = f"{times['median']:.4f} ({times['min']:.4f} to {times['max']:.4f})"
        return f"| {name} | {spread} | {times_as_fast} | {recall} | {build} |"

    seconds = exact["seconds"]
    lines.append(line("NumPy", seconds["NumPy"], "1"))
    faster = f"{exact['NumPy takes times as long']} × NumPy"
    lines.append(line("exact", seconds["exact"], faster))
    lines.append(line("faiss, flat", seconds["faiss"], ""))
    lines.append(line("exact, one query", seconds["exact, one query"], ""))
    lines.append(line("faiss, flat, one query", seconds["faiss, one query"], ""))
    for kind in set(found) - {"rows", "exact"}:
        each = found[kind]
        faster = f"{each['times as fast as exact']} × exact"
        recall, build = f"{each['recall@10']:.3f}", f"{each['seconds to build']} s"
        lines.append(line(kind, each["seconds"][kind], faster, recall, build))
    lines.append(f"\nexact: peak memory / data {exact['peak memory / data']}; {seconds}")
    return "\n".join(lines)
