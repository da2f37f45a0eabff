"""Does `dolg train --data` help? Fine-tunes on half of the classes of a kind, measures the others.

PHOTOS has a folder for each kind of thing, and each of these a subfolder for each class. For each
kind and seed:

1. Half of the classes are drawn, and at most 500 of their photographs.
2. A start that has not seen the kind is fine-tuned on them, with the defaults of `dolg train`.
3. Leave-one-out mAP before and after is measured on the other half of the classes, on the other
   kinds, and on the folders of --others: what was learned, and what was forgotten.

The starts are made once, by train_embedded_preset.py: --group and the remaining kinds are two
groups, and the start for the kinds of one is trained on the kinds of the other. All that is made
stays in the output folder; the same command continues where it was interrupted.

    python tools/measure_fine_tuning.py PHOTOS/labelled -o measured \\
        --others PHOTOS/vietnam PHOTOS/instances
"""

import argparse
import csv
import dataclasses
import json
import shutil
import time
from pathlib import Path

import numpy as np
import train_embedded_preset
from _options import OUTPUT

import dolg_zoo
from dolg_zoo import DOLG
from dolg_zoo.evaluation import leave_one_out
from dolg_zoo.preprocessing import list_images
from dolg_zoo.training import TrainingConfig, train

MOST_TRAINED, MOST_MEASURED, MOST_OF_OTHERS = 500, 600, 300
"""Photographs to train on, to measure what was learned on, and what was forgotten on."""


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path)
    parser.add_argument(*OUTPUT, dest="out", type=Path, required=True)
    parser.add_argument("--others", type=Path, nargs="*", default=[], help="further class folders")
    parser.add_argument("--kinds", nargs="*", help="instead of all")
    parser.add_argument(
        "--group", nargs="*", default=["covers", "places", "products"], help="kinds of one group"
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, help="instead of those that `dolg train` chooses")
    parser.add_argument("--start", type=Path, help="a preset to begin with, instead of those made")
    parser.add_argument("--start-epochs", type=int, default=2, help="to make the starts with")
    arguments = parser.parse_args()
    kinds = sorted(path.name for path in arguments.photos.iterdir() if path.is_dir())
    others = {path.name: rows(path) for path in arguments.others}
    found = [
        measured(arguments, kinds, others, kind, seed)
        for seed in range(arguments.seeds)
        for kind in arguments.kinds or kinds
    ]
    print(table(found))


def rows(folder):
    """The photographs of a folder of classes: a list of (path, class)."""
    return [
        (path, label.name)
        for label in sorted(folder.iterdir())
        if label.is_dir()
        for path in list_images(label)
    ]


def drawn(photos, most, rng):
    """About so many photographs at most: of each class four or more, else fewer classes."""
    by_class = {}
    for number in rng.permutation(len(photos)):
        by_class.setdefault(photos[number][1], []).append(photos[number])
    each = max(4, most // len(by_class))
    chosen = [photo for of_class in by_class.values() for photo in of_class[:each]]
    return chosen[:most]


def measured(arguments, kinds, others, kind, seed):
    """The mAP before and after of one kind and seed, kept as JSON."""
    folder = arguments.out / "runs" / f"{kind}-{seed}"
    result = folder / "measured.json"
    if result.is_file():
        return json.loads(result.read_text())
    folder.mkdir(parents=True, exist_ok=True)
    start = arguments.start or start_without(arguments, kinds, kind)
    rng = np.random.default_rng([seed, kinds.index(kind)])
    of_kind = rows(arguments.photos / kind)
    classes = rng.permutation(sorted({label for _, label in of_kind}))
    trained = set(classes[: (len(classes) + 1) // 2])
    training = drawn([row for row in of_kind if row[1] in trained], MOST_TRAINED, rng)
    held_out = drawn([row for row in of_kind if row[1] not in trained], MOST_MEASURED, rng)
    with (folder / "training.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("image", "label"), *((p.resolve(), c) for p, c in training)])
    config = TrainingConfig.for_photos(folder / "training.csv", str(start), arguments.epochs)
    config = dataclasses.replace(
        config,
        data={**config.data, "anywhere": True},
        run=dataclasses.replace(config.run, seed=seed),
    )
    begin = time.monotonic()
    run = train(config, folder / "run", relative_to=Path.cwd())
    minutes = (time.monotonic() - begin) / 60
    sets = {"other half": held_out, **others}
    fixed = np.random.default_rng(0)
    for other in kinds:
        if other != kind:
            sets[other] = drawn(rows(arguments.photos / other), MOST_OF_OTHERS, fixed)
    models = [DOLG.from_preset(preset) for preset in (start, run.preset)]
    scores = {name: [score(model, photos) for model in models] for name, photos in sets.items()}
    best = run.history[run.best_epoch]
    found = {
        "kind": kind,
        "seed": seed,
        "photographs": len(training),
        "classes": len(trained),
        "minutes": round(minutes, 1),
        "best_epoch": run.best_epoch,
        "share_of_start": best.get("share_of_start", 1.0),
        "verdict": str(run.verdict),
        "scores": scores,
    }
    result.write_text(json.dumps(found, indent=1))
    print(json.dumps(found), flush=True)
    return found


def start_without(arguments, kinds, kind):
    """The preset that was trained on the group of kinds that this one is not in."""
    is_in_group = kind in arguments.group
    other = [name for name in kinds if (name in arguments.group) != is_in_group]
    folder = arguments.out / "starts" / "-".join(other)
    if not (folder / "packed").exists():
        photos = folder / "photos"
        shutil.rmtree(photos, ignore_errors=True)
        photos.mkdir(parents=True)
        for name in other:
            (photos / name).symlink_to((arguments.photos / name).resolve())
        settings = argparse.Namespace(
            photos=photos, out=folder, epochs=arguments.start_epochs, seed=0
        )
        train_embedded_preset.make(settings)
    return folder / "packed"


def score(model, photos):
    """The leave-one-out mAP of photographs."""
    paths, labels = zip(*photos, strict=True)
    descriptors = model.embed(list(paths), progress=False, runtime="keras")
    return round(leave_one_out(descriptors, labels).map, 4)


def table(found):
    """A Markdown table with a row for each kind: the mean over the seeds, in per cent."""
    sets = list(dict.fromkeys(name for each in found for name in each["scores"]))
    lines = ["| trained on half of | photographs | minutes | " + " | ".join(sets) + " |"]
    lines.append("| --- " * (3 + len(sets)) + "|")
    gains = {name: [] for name in sets}
    for kind in dict.fromkeys(each["kind"] for each in found):
        runs = [each for each in found if each["kind"] == kind]
        cells = [
            kind,
            *(f"{np.mean([r[key] for r in runs]):.3g}" for key in ("photographs", "minutes")),
        ]
        for name in sets:
            pairs = [r["scores"][name] for r in runs if name in r["scores"]]
            if pairs:
                before, after = np.mean(pairs, axis=0)
                gains[name].append(after - before)
                cells.append(f"{100 * before:.1f} {100 * (after - before):+.1f}")
            else:
                cells.append("")
        lines.append("| " + " | ".join(cells) + " |")
    means = [f"{100 * np.mean(gains[name]):+.2f}" for name in sets]
    lines.append("| mean | | | " + " | ".join(means) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(f"dolg-zoo {dolg_zoo.__version__}")
    main()
