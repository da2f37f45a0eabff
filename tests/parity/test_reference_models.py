"""The references of the conversion tools against outputs of the upstream code.

Those were recorded on another machine. A network of 50 or 101 layers gives outputs there and here
that differ by some 2e-6 of the largest one; the bounds are ten times that, and a wrong weight shows
at 1e-2. Logits are 30 times a cosine, so off by 30 times as much as it.
"""

import functools
import importlib.util
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.slow

TOOLS = Path(__file__).resolve().parents[2] / "tools"
RUN_ON_TORCH = Path(__file__).with_name("_run_on_torch_checkpoint.py")
SCRIPTS = {
    "r50": "references/official_pytorch.py",
    "r50_ma": "references/official_pytorch.py",
    "r101": "references/official_pytorch.py",
    "paddle": "references/official_paddle.py",
    "shallow": "references/official_pytorch.py",  # r50's first block of each stage, no classes
    "dongkyuk": "references/dongkyuk_pytorch.py",
}
FILES = {"paddle": "official_paddle", "dongkyuk": "dongkyuk_pytorch"}
OFFICIAL = ("r50", "r50_ma", "r101")
SIZES = ("224x224", "193x257")
SEEDS = ("seed0", "seed1")
SCALE, MARGIN = 30, 0.15


def skip_without_framework(model):
    framework = "paddle" if model == "paddle" else "torch"
    if importlib.util.find_spec(framework) is None:
        pytest.skip(f"needs {framework}")


def run_script(script, *arguments):
    return subprocess.run(
        [sys.executable, script, *map(str, arguments)], capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def filled(golden):
    """The upstream state dict of a model, filled by the golden rule."""

    def array(key, shape):
        if key.endswith("num_batches_tracked"):
            return np.zeros(shape, np.int64)
        return np.zeros(shape, np.float32) if key == "desc_cls.t" else golden.fill(key, shape)

    def paddle_array(key, shape):
        key = key.replace("._mean", ".running_mean").replace("._variance", ".running_var")
        # a matrix is the transpose of PyTorch's
        return golden.fill(key, shape[::-1]).T if len(shape) == 2 else golden.fill(key, shape)

    @functools.cache
    def state(model):
        if model == "shallow":
            later_block = re.compile(r"\.b[2-9]\.|desc_cls")
            return {key: a for key, a in state("r50").items() if not later_block.search(key)}
        if model in OFFICIAL:
            keys = golden.read("official_pytorch_keys")[model]
        else:
            keys = golden.read(f"{FILES[model]}_keys")
        make = paddle_array if model == "paddle" else array
        return {key: make(key, shape) for key, shape in keys.items()}

    return state


@pytest.fixture(scope="module")
def run(golden, tmp_path_factory):
    """Runs the script of a model on a state dict; returns what it wrote, or its complaint."""
    images = {size: golden.image(*map(int, size.split("x"))) for size in SIZES}
    seeds = {seed: golden.image(224, 224, number) for number, seed in enumerate(SEEDS)}

    def run(model, state, storage="zip"):
        skip_without_framework(model)
        folder = tmp_path_factory.mktemp(model)
        arrays, checkpoint = folder / "state.npz", folder / "state.pt"
        given, found = folder / "images.npz", folder / "found.npz"
        np.savez(arrays, **state)
        np.savez(given, **(seeds if model == "dongkyuk" else images))
        script = TOOLS / SCRIPTS[model]
        if model == "paddle":
            ended = run_script(script, arrays, given, found)
        else:
            ended = run_script(RUN_ON_TORCH, storage, arrays, script, checkpoint, given, found)
        arrays.unlink()  # hundreds of megabytes, as is the checkpoint
        checkpoint.unlink(missing_ok=True)
        if ended.returncode:
            return ended.stderr
        with np.load(found) as arrays:
            return dict(arrays)

    return run


@pytest.fixture(scope="module")
def reference(filled, run):
    """What the script of a model found on the golden parameters and images; each is run once."""

    @functools.cache
    def found(model):
        found = run(model, filled(model))
        assert isinstance(found, dict), found
        return found

    return found


@pytest.fixture(scope="module")
def upstream(golden):
    """The golden outputs of a model for one of its images."""

    def of(model, name):
        if model in OFFICIAL:
            return golden.read("official_pytorch")[model][name]
        if model == "paddle":
            return golden.read("official_paddle")[name]
        batch = golden.read("dongkyuk_pytorch")
        index = SEEDS.index(name)
        return {
            "descriptor": batch["224x224_batch_seed0_seed1"]["descriptor"][index],
            "logits_head": batch["logits_head"][index],
        }

    return of


def cosines(a, b):
    """Of each row of `a` with each row of `b`."""
    a, b = (np.asarray(v, np.float64) / np.linalg.norm(v, axis=-1, keepdims=True) for v in (a, b))
    return a @ b.T


def with_margin(cosine):
    return np.cos(np.arccos(cosine) + MARGIN)


@pytest.mark.parametrize(
    ("model", "name"),
    [(model, size) for model in (*OFFICIAL, "paddle") for size in SIZES]
    + [("dongkyuk", seed) for seed in SEEDS],
)
def test_descriptor_is_upstreams(model, name, reference, upstream):
    descriptor = reference(model)[f"descriptor/{name}"]
    expected = np.array(upstream(model, name)["descriptor"])
    assert descriptor.shape == expected.shape
    np.testing.assert_allclose(descriptor, expected, rtol=0, atol=2e-5 * np.abs(expected).max())
    np.testing.assert_allclose(cosines(descriptor, expected), 1, rtol=0, atol=1e-7)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("model", OFFICIAL)
def test_taps_of_the_official_model_are_stages_3_and_4(model, size, reference, upstream):
    height, width = map(int, size.split("x"))
    for tap, stage, stride, channels in (("local", "f3", 16, 1024), ("global", "f4", 32, 2048)):
        features = reference(model)[f"{tap}/{size}"]
        assert features.shape == (-(-height // stride), -(-width // stride), channels)
        expected = upstream(model, size)[f"{stage}_mean_std"]
        assert [features.mean(), features.std()] == pytest.approx(expected, rel=2e-5)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("model", OFFICIAL)
def test_attention_of_the_official_model_is_upstreams(model, size, reference, upstream):
    attention = reference(model)[f"attention/{size}"]
    assert attention.shape == (*reference(model)[f"local/{size}"].shape[:2], 1)
    expected = upstream(model, size)["attention_min_mean_max"]
    assert [attention.min(), attention.mean(), attention.max()] == pytest.approx(expected, rel=2e-5)


@pytest.mark.parametrize("model", OFFICIAL)
def test_logits_of_the_official_model_are_upstreams(model, reference, upstream, filled):
    found, t = reference(model), 0
    for size in SIZES:
        cosine = cosines(found[f"descriptor/{size}"], filled(model)["desc_cls.weight"])
        fresh = 0.01 * cosine[3]
        t = fresh + 0.99 * t
        # upstream kept t from the first image for the second, the reference starts anew
        hard = (cosine > with_margin(cosine[3])) & (np.arange(1000) != 3)
        kept = np.where(hard, SCALE * cosine * (t - fresh), 0)
        logits = found[f"logits/{size}"]
        assert logits.shape == (1000,)
        expected = upstream(model, size)["logits_head"]
        assert (logits + kept)[:8] == pytest.approx(expected, rel=0, abs=1e-5)


@pytest.mark.parametrize(
    ("cosine", "expected"),
    [
        # beyond π − margin the target's logit goes on falling; t is 0.01 · −1
        (-1, [-1 - MARGIN * np.sin(MARGIN), 1 * (-0.01 + 1)]),
        # a wrong class below the target's cosine with its margin is left alone
        (1, [np.cos(MARGIN), -1]),
    ],
)
def test_curricular_face_beyond_the_golden_angles(cosine, expected, reference, filled, run):
    descriptor = reference("shallow")["descriptor/224x224"]
    centers = np.stack([-cosine * descriptor, cosine * descriptor])  # of two, 3 % 2 is the target
    head = {"desc_cls.weight": centers, "desc_cls.t": np.ones(1, np.float32)}
    found = run("shallow", filled("shallow") | head)
    # near 0 and π the angle of a cosine is known to the root of the rounding error
    assert found["logits/224x224"][::-1] / SCALE == pytest.approx(expected, abs=2e-4)


def test_taps_of_dongkyuk_are_layers_2_and_3(reference, golden):
    found = reference("dongkyuk")
    expected = golden.read("dongkyuk_pytorch")["224x224_batch_seed0_seed1"]["taps_mean_std"]
    for tap, shape, mean_std in zip(
        ("local", "global"), [(28, 28, 512), (14, 14, 1024)], expected, strict=True
    ):
        features = np.stack([found[f"{tap}/{seed}"] for seed in SEEDS])
        assert features.shape == (2, *shape)
        assert [features.mean(), features.std()] == pytest.approx(mean_std, rel=2e-5)
    assert found["attention/seed0"].shape == (28, 28, 1024)


def test_logits_of_dongkyuk_are_upstreams(reference, upstream):
    logits = reference("dongkyuk")["logits/seed0"]
    assert logits.shape == (1000,)
    expected = upstream("dongkyuk", "seed0")["logits_head"]
    assert logits[:8] == pytest.approx(expected, rel=0, abs=1e-5)


def test_loss_of_dongkyuk_is_upstreams(reference, filled, golden):
    found, losses = reference("dongkyuk"), []
    for seed, label in zip(SEEDS, (3, 5), strict=True):
        logits = np.float64(found[f"logits/{seed}"])  # with 3 as the label
        if label != 3:
            centers = filled("dongkyuk")["criterion.weight"]
            cosine = cosines(found[f"descriptor/{seed}"], centers)
            logits[3] = SCALE * cosine[3]
            logits[label] = SCALE * with_margin(cosine[label])
        losses.append(np.log(np.exp(logits).sum()) - logits[label])
    expected = golden.read("dongkyuk_pytorch")["loss_labels_3_5"]
    assert np.mean(losses) == pytest.approx(expected, rel=1e-6)


def test_an_old_and_wrapped_checkpoint_is_read_as_a_new_and_bare_one(reference, filled, run):
    found = run("shallow", filled("shallow"), "legacy")
    for key, expected in reference("shallow").items():
        assert np.array_equal(found[key], expected)


def test_without_classes_there_are_no_logits(reference):
    kinds = {key.split("/")[0] for key in reference("shallow")}
    assert kinds == {"descriptor", "local", "global", "attention"}


@pytest.mark.parametrize("model", ["shallow", "paddle"])
def test_a_tensor_without_a_place_is_refused(model, filled, run):
    complaint = run(model, filled(model) | {"localmodel.strange": np.zeros(1, np.float32)})
    assert "localmodel.strange" in complaint


@pytest.mark.parametrize("model", ["shallow", "paddle"])
def test_a_place_without_a_tensor_is_refused(model, filled, run):
    bias = "localmodel.conv2.bias"
    complaint = run(model, {key: array for key, array in filled(model).items() if key != bias})
    assert bias in complaint


class Intruder:
    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


@pytest.mark.parametrize("model", ["r50", "dongkyuk", "paddle"])
def test_nothing_in_a_checkpoint_is_executed(model, tmp_path):
    skip_without_framework(model)
    trace, checkpoint = tmp_path / "trace", tmp_path / "state.npz"
    checkpoint.write_bytes(pickle.dumps({"fc.weight": Intruder(trace)}))
    ended = run_script(TOOLS / SCRIPTS[model], checkpoint, checkpoint, tmp_path / "found.npz")
    assert ended.returncode != 0
    assert not trace.exists()
    pickle.loads(checkpoint.read_bytes())
    assert trace.exists()  # the trap works
