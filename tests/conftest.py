import gc
import importlib.util
import io
import json
import os
import runpy
import sys
from functools import cache
from pathlib import Path
from types import SimpleNamespace

if "PYTEST_XDIST_WORKER" in os.environ:
    # There is a worker for each core: more threads than that spend their time waiting for others.
    for library in ("OMP", "OPENBLAS", "MKL"):
        os.environ.setdefault(f"{library}_NUM_THREADS", "1")
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")

import numpy as np
import pytest
from PIL import Image

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# where this is set OpenVINO, which some tests import themselves, sends nothing to its makers
os.environ.setdefault("CI", "true")
# what is no test of a runtime is not to wait for a model to be compiled
os.environ.setdefault("DOLG_ZOO_RUNTIME", "keras")

pytest_plugins = ["comparisons", "hub_client", "margins", "rounding"]

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"


def pytest_addoption(parser):
    parser.addoption("--fast", action="store_true", help="skip all that imports TensorFlow")


def pytest_configure(config):
    if config.getoption("--fast"):
        sys.meta_path.insert(0, SkipsWhatNeedsTensorFlow())


class SkipsWhatNeedsTensorFlow:
    """Skips a test, or a module of tests, at the moment that it imports TensorFlow or Keras."""

    def find_spec(self, name, path=None, target=None):
        if name in ("tensorflow", "keras", "keras_cv"):
            pytest.skip(f"imports {name}, and this is a run with --fast", allow_module_level=True)


# The folders of the slow tests that take longest: what begins last would be waited for alone.
LONGEST = ("tools", "training", "backbones", "retrieval", "weights")


# TensorFlow asks the processor whether it computes in bfloat16, and oneDNN asks this variable too:
# where the two differ, a convolution ends in an error or takes the process with it.
WITHOUT_BFLOAT16 = ("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2")


def pytest_runtest_setup(item):
    most = os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper()
    if most in WITHOUT_BFLOAT16 and item.get_closest_marker("bfloat16") and has_avx512():
        pytest.skip(f"ONEDNN_MAX_CPU_ISA={most}: TensorFlow cannot convolve in bfloat16")


def has_avx512():
    from dolg_zoo.runtimes.cpu import cpu_flags

    return "avx512f" in cpu_flags()


def pytest_collection_modifyitems(config, items):
    if config.option.markexpr == "slow":
        items.sort(key=lambda item: item.path.relative_to(ROOT / "tests").parts[0] not in LONGEST)


def pytest_xdist_make_scheduler(config, log):
    """Slow tests of a file stay together: what they have in common takes up to 40 s to make."""
    if config.option.markexpr == "slow":
        from xdist.scheduler import LoadFileScheduling

        config.option.loadscopereorder = False
        return LoadFileScheduling(config, log)
    return None


def pytest_collection_finish(session):
    # The frameworks leave some million objects behind that live as long as the process; building a
    # network takes a fifth longer when each collection of garbage walks through them.
    gc.freeze()


@pytest.fixture(autouse=True)
def _same_weights_each_time():
    if "keras" in sys.modules:
        sys.modules["keras"].utils.set_random_seed(0)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def shared():
    """The folder beside the checkout with golden outputs and photographs."""
    if not SHARED.is_dir():
        pytest.skip("needs the folder ../shared beside the checkout")
    return SHARED


@pytest.fixture(scope="session")
def golden(shared):
    """Outputs of the upstream code by name, and the rules their parameters and images follow."""
    folder = shared / "golden"
    rules = runpy.run_path(str(folder / "fill.py"))
    return SimpleNamespace(
        read=lambda name: json.loads((folder / f"{name}.json").read_text()),
        fill=rules["fill"],
        image=rules["image"],
    )


@pytest.fixture(scope="session")
def load_tool():
    """Imports a script of tools/ by its name."""

    def load(name):
        spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(ROOT / "tools")  # as when it is run as a script
            spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture(scope="session")
def embedded_model():
    """The preset that ships with the package; tests leave it as it is."""
    from dolg_zoo import DOLG

    return DOLG.from_preset()


@pytest.fixture(scope="session")
def model():
    """Of random weights and few layers, but prepares images as the preset that ships does.

    For tests of what is done with descriptors, whatever they are; they leave it as it is.
    """
    import dataclasses

    from small_model import small_model

    from dolg_zoo import DOLG, DOLGNet, ImageConverter

    small = small_model(preset="small", description="a test", license="Apache-2.0")
    config = dataclasses.replace(small.net.config, descriptor_dim=512)
    converter = ImageConverter(size=256, mode="short_side", multiple_of=32, interpolation="bicubic")
    return DOLG(DOLGNet(small.net.backbone, config=config), converter, small.metadata)


@pytest.fixture(scope="session")
def official_stand_in(model, tmp_path_factory):
    """A $DOLG_ZOO_CACHE as if dolg_resnet50_gldv2 had been used before; its network is another."""
    return cache_of_the_official(model.net, tmp_path_factory.mktemp("cache"))


def cache_of_the_official(net, cache):
    """Puts into a $DOLG_ZOO_CACHE what dolg_resnet50_gldv2 would be converted to, with this net."""
    from dolg_zoo.checkpoints.porting import MarginHead
    from dolg_zoo.presets import Preset, write_preset
    from dolg_zoo.presets.conversion import OFFICIAL_CONVERTER
    from dolg_zoo.weights import load_manifest
    from dolg_zoo.weights.conversion_cache import conversion_folder

    entry = load_manifest().checkpoints["dolg_resnet50_gldv2"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOLG_ZOO_CACHE", str(cache))
        folder = conversion_folder(entry)
    rng = np.random.default_rng(0)
    arrays = {"centers": rng.normal(size=(7, 512)).astype("float32"), "t": np.zeros((), "float32")}
    write_preset(
        folder,
        Preset(net, OFFICIAL_CONVERTER, entry.metadata()),
        MarginHead("CurricularFace", 30.0, 0.15, arrays),
    )
    return cache


@pytest.fixture
def photos(tmp_path):
    """A folder with four photographs of 160×160 pixels, one of them in a folder below."""
    return write_photos(tmp_path)


@pytest.fixture(scope="module")
def module_photos(tmp_path_factory):
    """As `photos`, for what a module computes once; its tests leave them as they are."""
    return write_photos(tmp_path_factory.mktemp("module"))


def write_photos(parent):
    folder = parent / "photos"
    (folder / "far").mkdir(parents=True)
    for name in ("astronaut", "coffee", "rocket", "far/chelsea"):
        (folder / f"{name}.png").write_bytes(small_photo(Path(name).name))
    return folder


@cache
def small_photo(name):
    """A part of a photograph that ships, as a PNG file."""
    from dolg_zoo.shipped_photos import FOLDER

    (path,) = FOLDER.glob(f"{name}.*")
    with Image.open(path) as image:
        square = image.convert("RGB").crop((0, 0, 300, 300)).resize((160, 160))
    file = io.BytesIO()
    square.save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def embedded_images(monkeypatch):
    """Counts what goes through any model: a list that grows by each image's name."""
    from dolg_zoo import DOLG

    embed_each, seen = DOLG.embed_each, []

    def counting(self, images, **options):
        def each():
            for image in images:
                seen.append(getattr(image, "name", image))
                yield image

        return embed_each(self, each(), **options)

    monkeypatch.setattr(DOLG, "embed_each", counting)
    return seen
