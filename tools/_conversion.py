"""What the conversion tools share: a checkpoint in, a preset folder and a report out.

In between the network is compared with a reference in the checkpoint's own framework, which runs in
a process of its own. Above the tolerance nothing is written.
"""

import argparse
import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from _options import OUTPUT

from dolg_zoo import __version__
from dolg_zoo._util.hashing import sha256_of
from dolg_zoo._util.modules import is_installed
from dolg_zoo.checkpoints.porting import LAYOUTS
from dolg_zoo.cli.model import import_tensorflow
from dolg_zoo.weights import WeightsError, read_state_dict

TOLERANCE = 2e-5
# the networks take any size: odd ones, a long one, one of less than a stride
SIZES = [(224, 224), (193, 257), (96, 416), (64, 31)]
TARGET = 3


def main(description, *, format, framework, reference, by_arrays=False):
    """Runs a conversion tool.

    Args:
        description: the tool's docstring, for --help.
        format: whose checkpoints it converts: a key of `dolg_zoo.checkpoints.porting.LAYOUTS`.
        framework: the module that the reference needs.
        reference: the script of the reference, in references/.
        by_arrays: whether the reference is handed arrays, because its framework would execute
            what is in the checkpoint.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path, help="the upstream's file")
    parser.add_argument(
        *OUTPUT,
        dest="out",
        type=Path,
        required=True,
        help="the preset folder to write",
    )
    parser.add_argument("--name", help="the preset's name; that of the folder if not given")
    parser.add_argument("--license", default="not stated", help="of the weights, for `dolg info`")
    parser.add_argument(
        "--provenance", default="not stated", help="how the weights came to be, for `dolg info`"
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        default=TOLERANCE,
        help="the largest difference allowed, as a share of the largest value (%(default)g)",
    )
    arguments = parser.parse_args()
    if not is_installed(framework):
        parser.error(
            f"the parity check needs {framework}, which is not installed;"
            ' pip install ".[convert]" brings it'
        )
    if not arguments.checkpoint.is_file():
        parser.error(f"there is no file {arguments.checkpoint}")
    if not 0 < arguments.tolerance <= 1:
        parser.error(f"--tolerance must be above 0 and up to 1, got {arguments.tolerance}")
    if arguments.out.exists() and (not arguments.out.is_dir() or any(arguments.out.iterdir())):
        parser.error(f"--out {arguments.out} is not empty; name a new folder, or remove it")
    parent = next(parent for parent in arguments.out.absolute().parents if parent.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        parser.error(f"--out {arguments.out}: {parent} cannot be written to")
    try:
        convert(
            arguments,
            format,
            framework,
            Path(__file__).with_name("references") / reference,
            by_arrays,
        )
    except (WeightsError, ValueError, OSError) as error:
        sys.exit(f"error: {error}")


def convert(arguments, format, framework, reference, by_arrays):
    say = Progress(4)
    import_tensorflow()
    from dolg_zoo.presets import convert_checkpoint, write_preset
    from dolg_zoo.presets.files import REPORT

    say(f"hashing {arguments.checkpoint}")
    source = {
        "file": arguments.checkpoint.name,
        "size": arguments.checkpoint.stat().st_size,
        "sha256": sha256_of(arguments.checkpoint),
    }
    say("reading and porting it, without its framework")
    metadata = {
        "name": arguments.name or arguments.out.name,
        "license": arguments.license,
        "provenance": arguments.provenance,
        "source": source,
    }
    conversion = convert_checkpoint(arguments.checkpoint, format, metadata)
    config = conversion.preset.net.config
    print(f"      {conversion.tensors} tensors: {config.backbone}, {config.descriptor_dim} dims")
    say(f"comparing with a reference in {framework} on images of {len(SIZES)} sizes")
    images = random_images()
    found = run_reference(reference, arguments.checkpoint, images, by_arrays and format)
    differences = compare(conversion, images, found)
    for what, difference in differences.items():
        print(f"      {what:24} largest difference / largest value: {difference:.2e}")
    worst = float(np.max(list(differences.values())))  # which is NaN if one of them is
    if not worst <= arguments.tolerance:
        sys.exit(
            f"error: the outputs differ by {worst:.2e} of their largest value, more than"
            f" {arguments.tolerance:.0e}; nothing was written."
        )
    say(f"writing {arguments.out}")
    write_preset(arguments.out, conversion.preset, conversion.margin_head)
    distribution, *_ = importlib.metadata.packages_distributions()[framework]
    report = {
        "source": source["file"],
        "source_sha256": source["sha256"],
        "source_size": source["size"],
        "format": format,
        "tensors": conversion.tensors,
        "tolerance": arguments.tolerance,
        "largest_difference": worst,
        "differences": differences,
        "reference": f"{framework} {importlib.metadata.version(distribution)}",
        "dolg_zoo": __version__,
    }
    (arguments.out / REPORT).write_text(json.dumps(report, indent=1) + "\n")
    print(f"Wrote {arguments.out}; largest difference {worst:.2e}, tolerance {report['tolerance']}")


class Progress:
    """Says which step begins, and how long it has taken so far."""

    def __init__(self, steps):
        self.steps, self.step, self.begin = steps, 0, time.monotonic()

    def __call__(self, what):
        self.step += 1
        seconds = time.monotonic() - self.begin
        print(f"[{self.step}/{self.steps}] {what} ({seconds:.0f} s)", flush=True)


def random_images():
    rng = np.random.default_rng(0)
    return {
        f"{height}x{width}": rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        for height, width in SIZES
    }


def run_reference(script, checkpoint, images, by_arrays):
    with tempfile.TemporaryDirectory() as folder:
        given, found = Path(folder, "images.npz"), Path(folder, "reference.npz")
        np.savez(given, **images)
        if by_arrays:
            state = LAYOUTS[by_arrays].network_in(read_state_dict(checkpoint))
            checkpoint = Path(folder, "state.npz")
            np.savez(checkpoint, **state)
        done = subprocess.run([sys.executable, script, checkpoint, given, found])
        if done.returncode:
            raise ValueError(f"the reference, {script.name}, failed; what it said stands above")
        with np.load(found) as arrays:
            return dict(arrays)


def compare(conversion, images, found):
    """The largest difference of each output, as a share of its largest value."""
    differences = {}
    ours = outputs_of(conversion)
    for name, image in images.items():
        for what, array in ours(image).items():
            expected = found[f"{what}/{name}"]
            array = np.asarray(array)[0]
            if array.shape != expected.shape:
                raise ValueError(f"{what} of {name} is {array.shape}, not {expected.shape}")
            difference = np.abs(array - expected).max() / np.abs(expected).max()
            differences[f"{what} {name}"] = float(difference)
    return differences


def outputs_of(conversion):
    """A function that gives all that the reference gives, for one image."""
    import keras

    net = conversion.preset.net
    head = conversion.margin_head
    taps = keras.Model(net.input, net.backbone(net.get_layer("normalization").output))
    branch = net.get_layer("local_branch")
    layer = head and head_layer(head)

    def outputs(image):
        local, global_ = taps(image[None])
        features, weights = branch.attend(local)
        arrays = {
            "descriptor": net(image[None]),
            "local": local,
            "global": global_,
            "attention": weights * keras.ops.norm(features, axis=-1, keepdims=True),
        }
        if layer is not None:
            if hasattr(layer, "t"):
                layer.t.assign(0)  # as in the reference, so that images do not depend on others
            labels = np.array([TARGET % layer.num_classes])
            arrays["logits"] = layer([arrays["descriptor"], labels], training=True)
        return arrays

    return outputs


def head_layer(head):
    from dolg_zoo import layers

    classes, dim = head.arrays["centers"].shape
    layer = getattr(layers, head.layer)(classes, scale=head.scale, margin=head.margin)
    layer.build((None, dim))
    for weight in layer.weights:
        weight.assign(head.arrays[weight.name])
    return layer
