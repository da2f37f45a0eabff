"""Runs the official DOLG, rewritten from its description, in a process without TensorFlow.

Depth, MultiAtrous, width of the descriptor and number of classes are read off the checkpoint. The
file is read with `weights_only`: nothing in it is executed.

Usage: python references/official_pytorch.py CHECKPOINT IMAGES.npz OUT.npz

IMAGES.npz holds uint8 RGB images (H, W, 3) by name. OUT.npz gets, for each NAME, descriptor/NAME
(dim,); local/NAME, global/NAME and attention/NAME, maps (H, W, channels); and, if the checkpoint
holds the class matrix, logits/NAME (classes,) of the training head with class `3 % classes` as the
target.
"""

import math
import re
import sys
from collections import OrderedDict

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812, as PyTorch's manual calls it

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, RGB
TARGET = 3


class GeM(nn.Module):
    def __init__(self):
        super().__init__()
        self.p = nn.Parameter(torch.empty(1))

    def forward(self, x):
        return x.clamp(min=1e-6).pow(self.p).mean(dim=(2, 3)).pow(1 / self.p)


def fuse(local, descriptor):
    """The mean of the part of each local feature that is orthogonal to the global one."""
    along = torch.einsum("nchw,nc->nhw", local, descriptor)
    along = along / descriptor.square().sum(1)[:, None, None]
    orthogonal = local - along[:, None] * descriptor[:, :, None, None]
    return torch.cat([descriptor, orthogonal.mean(dim=(2, 3))], 1)


class Bottleneck(nn.Module):
    def __init__(self, channels, out, stride):
        super().__init__()
        if channels != out:
            self.proj = nn.Conv2d(channels, out, 1, stride, bias=False)
            self.bn = nn.BatchNorm2d(out)
        inner = out // 4
        self.f = nn.Sequential(
            OrderedDict(
                a=nn.Conv2d(channels, inner, 1, bias=False),
                a_bn=nn.BatchNorm2d(inner),
                a_relu=nn.ReLU(),
                b=nn.Conv2d(inner, inner, 3, stride, 1, bias=False),
                b_bn=nn.BatchNorm2d(inner),
                b_relu=nn.ReLU(),
                c=nn.Conv2d(inner, out, 1, bias=False),
                c_bn=nn.BatchNorm2d(out),
            )
        )

    def forward(self, x):
        shortcut = self.bn(self.proj(x)) if hasattr(self, "proj") else x
        return F.relu(shortcut + self.f(x))


def stage(channels, out, blocks, stride):
    return nn.Sequential(
        OrderedDict(
            (f"b{i}", Bottleneck(out if i > 1 else channels, out, 1 if i > 1 else stride))
            for i in range(1, blocks + 1)
        )
    )


class ResNet(nn.Module):
    def __init__(self, blocks):
        super().__init__()
        self.stem = nn.Sequential(
            OrderedDict(
                conv=nn.Conv2d(3, 64, 7, 2, 3, bias=False),
                bn=nn.BatchNorm2d(64),
                relu=nn.ReLU(),
                pool=nn.MaxPool2d(3, 2, 1),
            )
        )
        self.s1 = stage(64, 256, blocks[0], stride=1)
        self.s2 = stage(256, 512, blocks[1], stride=2)
        self.s3 = stage(512, 1024, blocks[2], stride=2)
        self.s4 = stage(1024, 2048, blocks[3], stride=2)

    def forward(self, x):
        local = self.s3(self.s2(self.s1(self.stem(x))))
        return local, self.s4(local)


class MultiAtrous(nn.Module):
    def __init__(self):
        super().__init__()
        self.im_pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(1024, 512, 1), nn.ReLU())
        self.aspp = nn.ModuleList(
            [
                nn.Conv2d(1024, 512, 1),
                *(nn.Conv2d(1024, 512, 3, padding=d, dilation=d) for d in (6, 12, 18)),
            ]
        )
        self.conv_after = nn.Sequential(nn.Conv2d(5 * 512, 1024, 1), nn.ReLU())

    def forward(self, x):
        average = self.im_pool(x).expand(-1, -1, *x.shape[2:])
        return self.conv_after(torch.cat([average, *(conv(x) for conv in self.aspp)], 1))


class LocalBranch(nn.Module):
    def __init__(self, multi_atrous):
        super().__init__()
        self.aspp = MultiAtrous() if multi_atrous else nn.Identity()
        self.conv1 = nn.Conv2d(1024, 1024, 1)
        self.bn = nn.BatchNorm2d(1024)
        self.conv2 = nn.Conv2d(1024, 1, 1)

    def forward(self, x):
        x = self.bn(self.conv1(self.aspp(x)))
        attention = F.softplus(self.conv2(F.relu(x)))
        return attention * F.normalize(x), attention


class CurricularFace(nn.Module):
    """The training head; `t`, the running mean of the target's cosine, starts at 0 each time.

    That of the checkpoint is loaded but not used, so that logits depend on the image alone.
    """

    SCALE, MARGIN, NEW = 30.0, 0.15, 0.01

    def __init__(self, dim, classes):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(classes, dim))
        self.register_buffer("t", torch.empty(1))

    def forward(self, x, target):
        cosine = F.linear(F.normalize(x), F.normalize(self.weight)).clamp(-1, 1)
        of_target = cosine[:, target]
        t = self.NEW * of_target.mean()
        with_margin = (of_target.acos() + self.MARGIN).cos()
        fallback = of_target - math.sin(math.pi - self.MARGIN) * self.MARGIN
        hard = cosine > with_margin[:, None]
        logits = torch.where(hard, cosine * (t + cosine), cosine)
        logits[:, target] = torch.where(
            of_target > math.cos(math.pi - self.MARGIN), with_margin, fallback
        )
        return self.SCALE * logits


class DOLG(nn.Module):
    def __init__(self, blocks, multi_atrous, dim, classes):
        super().__init__()
        self.globalmodel = ResNet(blocks)
        self.localmodel = LocalBranch(multi_atrous)
        self.pool_g = GeM()
        self.fc_t = nn.Linear(2048, 1024)
        self.fc = nn.Linear(2048, dim)
        self.desc_cls = CurricularFace(dim, classes) if classes else None

    def forward(self, x):
        local_map, global_map = self.globalmodel(x)
        local, attention = self.localmodel(local_map)
        descriptor = self.fc(fuse(local, self.fc_t(self.pool_g(global_map))))
        found = {
            "descriptor": descriptor,
            "local": local_map,
            "global": global_map,
            "attention": attention,
        }
        if self.desc_cls is not None:
            found["logits"] = self.desc_cls(descriptor, TARGET % len(self.desc_cls.weight))
        return found


def read_checkpoint(path, anchor="fc_t.weight", head=("desc_cls.weight", "desc_cls.t")):
    """The state dict, whatever it is wrapped in, without the prefix that `anchor` has in it.

    Of what has no such prefix only the tensors named in `head` stay.
    """
    with open(path, "rb") as file:  # noqa: PTH123
        is_safetensors = file.read(9)[8:] == b"{"
    if is_safetensors:
        from safetensors.torch import load_file

        state = load_file(path)
    else:
        state = torch.load(path, map_location="cpu", weights_only=True)
    for wrapper in ("model_state", "state_dict", "model"):
        state = state.get(wrapper, state)
    prefixes = [key.removesuffix(anchor) for key in state if key.endswith(anchor)]
    prefix = min(prefixes, key=lambda prefix: prefix.count("."))
    return {
        key.removeprefix(prefix): as_float32(tensor)
        for key, tensor in state.items()
        if key.startswith(prefix) or key in head
    }


def as_float32(tensor):
    """What is computed with; half precision is how some files are kept."""
    return tensor.float() if tensor.is_floating_point() else tensor


def count_blocks(state, pattern, stages):
    """The number of residual blocks in each stage; `pattern` finds the stage, then the block."""
    found = {match.groups() for key in state if (match := re.match(pattern, key))}
    return [sum(of == str(number) for of, _ in found) for number in stages]


def load(state, network, *arguments):
    """The network, filled with the checkpoint, never with random values first."""
    with torch.device("meta"):
        model = network(*arguments)
    model.load_state_dict(state, strict=True, assign=True)
    return model.eval()


@torch.inference_mode()
def describe(model, images_file, out_file, bgr):
    arrays = {}
    order = slice(None, None, -1 if bgr else 1)
    for name, image in np.load(images_file).items():
        pixels = (image.astype(np.float32) / 255 - np.float32(MEAN)) / np.float32(STD)
        batch = torch.from_numpy(pixels[..., order].transpose(2, 0, 1).copy())[None]
        for kind, tensor in model(batch).items():
            arrays[f"{kind}/{name}"] = tensor[0].movedim(0, -1).numpy()
    np.savez(out_file, **arrays)


def main(checkpoint, images_file, out_file):
    state = read_checkpoint(checkpoint)
    model = load(
        state,
        DOLG,
        count_blocks(state, r"globalmodel\.s(\d)\.b(\d+)\.", stages=(1, 2, 3, 4)),
        any(key.startswith("localmodel.aspp.") for key in state),
        len(state["fc.weight"]),
        len(state.get("desc_cls.weight", ())),
    )
    describe(model, images_file, out_file, bgr=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
