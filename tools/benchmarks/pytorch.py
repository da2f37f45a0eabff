"""DOLG in PyTorch, as `benchmark.py inference` compares with it: the official architecture.

Usage: python -m benchmarks.pytorch make STATE.pt ATROUS|PLAIN
       python -m benchmarks.pytorch serve STATE.pt THREADS

The former writes random but fixed weights, the latter is for a `Worker`. Every route takes what
`images` gives and returns descriptors of length 1, the normalisation of the images included.
"""

import copy
import functools
import importlib
import sys

import torch
from references.official_pytorch import DOLG, MEAN, STD, load, read_checkpoint
from torch import nn
from torch.fx.experimental.optimization import fuse as fold
from torch.nn import functional as F  # noqa: N812, as PyTorch's manual calls it
from torch.nn.utils.fusion import fuse_conv_bn_eval

from benchmarks.common import serve
from benchmarks.images import images

BLOCKS, DIM = (3, 4, 6, 3), 512


def make(path, kind):
    """Statistics of the batch norms are those of a few images, so that no layer is idle."""
    torch.manual_seed(0)
    model = DOLG(BLOCKS, kind == "ATROUS", DIM, 0)
    nn.init.constant_(model.pool_g.p, 3.0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the mean over what passes
    with torch.no_grad():
        model.train()(prepared(images(4, 224)))
    torch.save(model.state_dict(), path)


def prepared(batch):
    """(batch, height, width, 3) uint8 RGB to what the official network takes."""
    x = torch.from_numpy(batch).permute(0, 3, 1, 2).float() / 255
    x = (x - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    return x.flip(1)  # to BGR


def route(model, dtype=torch.float32, layout=torch.contiguous_format):
    model = model.to(dtype).to(memory_format=layout)

    @torch.inference_mode()
    def describe(batch, size):
        x = prepared(images(batch, size)).to(dtype).contiguous(memory_format=layout)
        found = model(x)
        found = found["descriptor"] if isinstance(found, dict) else found
        return F.normalize(found.float()).numpy()

    return describe


def folded(model):
    """A copy with the batch norms folded into the convolutions before them."""
    model = copy.deepcopy(model)
    model.globalmodel = fold(model.globalmodel)
    local = model.localmodel
    local.conv1, local.bn = fuse_conv_bn_eval(local.conv1, local.bn), nn.Identity()
    return model


def with_timm(model):
    """A copy over timm's own ResNet-50, with the same weights."""
    import timm

    backbone = timm.create_model("resnet50", features_only=True, out_indices=(3, 4))
    own = dict(zip("abc", "123", strict=True))
    state = {}
    for key, tensor in model.globalmodel.state_dict().items():
        stage, *rest = key.split(".")
        if stage == "stem":
            name = {"conv": "conv1", "bn": "bn1"}[rest[0]]
            state[f"{name}.{rest[1]}"] = tensor
            continue
        block = f"layer{stage[1:]}.{int(rest[0][1:]) - 1}"
        if rest[1] == "f":
            part = ("bn" if rest[2].endswith("_bn") else "conv") + own[rest[2][0]]
        else:
            part = f"downsample.{'01'[rest[1] == 'bn']}"
        state[f"{block}.{part}.{rest[-1]}"] = tensor
    backbone.load_state_dict(state)
    model = copy.deepcopy(model)
    model.globalmodel = backbone
    return model.eval()


def of_the_package(model):
    """The PyPI package `dolg`, with the same weights."""
    from dolg import dolg_model_pt
    from dolg.resnet_pt import ResNet

    atrous = hasattr(model.localmodel.aspp, "aspp")
    packaged = dolg_model_pt.DOLG(ResNet(50), with_ma=atrous, num_classes=None)
    packaged.load_state_dict(model.state_dict())
    return packaged.eval()


def attempted(module, build, model):
    """A route over somebody else's network, or why there is none."""
    try:
        importlib.import_module(module)
    except (ImportError, RuntimeError) as error:  # the latter if built for another PyTorch
        return f"{type(error).__name__}: {error}"
    theirs, work = route(build(model)), {"batch": 1, "size": 224}
    cosine = float((theirs(**work) * route(model)(**work)).sum())
    if not cosine > 1 - 1e-6:
        return (
            f"it is another network: with the same weights the descriptors' cosine is {cosine:.3f}"
        )
    return theirs


def gemm(size):
    """A product of two float32 matrices: what the processor can do at most."""
    left, right = matrices(size)
    return left @ right


@functools.cache
def matrices(size):
    return torch.rand(size, size), torch.rand(size, size)


def main(path, threads):
    torch.set_num_threads(int(threads))
    state = read_checkpoint(path)
    atrous = any(key.startswith("localmodel.aspp.") for key in state)
    model = load(state, DOLG, BLOCKS, atrous, DIM, 0)
    last = {"layout": torch.channels_last}
    serve(
        {
            "PyTorch, eager": route(model),
            "PyTorch, channels-last": route(copy.deepcopy(model), **last),
            "PyTorch, bfloat16, channels-last, folded": route(
                folded(model), dtype=torch.bfloat16, **last
            ),
            "PyTorch, timm's ResNet-50": attempted("timm", with_timm, model),
            "PyPI package dolg": attempted("dolg.dolg_model_pt", of_the_package, model),
            "GEMM": gemm,
        },
        f"PyTorch {torch.__version__}",
    )


if __name__ == "__main__":
    {"make": make, "serve": main}[sys.argv[1]](*sys.argv[2:])
