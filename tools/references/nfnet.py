"""Runs an NFNet of random weights, written from its paper, in a process without TensorFlow.

Its tensors have timm's names. The family "eca_nfnet" is timm's ECA-NFNet.

Usage: python references/nfnet.py ARGUMENTS IMAGES.npz OUT.npz

ARGUMENTS are those of `NFNet` as JSON. IMAGES.npz holds float32 images (H, W, 3) by name. OUT.npz
gets the weights, state/KEY, and for each NAME the maps local/NAME and global/NAME.
"""

import json
import math
import sys
from collections import OrderedDict

import torch
from _random_backbone import write_maps
from torch import nn
from torch.nn import functional as F  # noqa: N812, as PyTorch's manual calls it

ALPHA = 0.2


class Family:
    def __init__(self, name):
        self.eca = name == "eca_nfnet"
        self.act = F.silu if self.eca else F.gelu
        self.gamma = 1.7881293296813965 if self.eca else 1.7015043497085571
        self.bottleneck = 0.25 if self.eca else 0.5


class StdConv(nn.Conv2d):
    def __init__(self, channels, out, kernel, family, stride=1, groups=1):
        super().__init__(channels, out, kernel, stride, groups=groups)
        self.gain = nn.Parameter(torch.ones(out, 1, 1, 1))
        self.family = family

    def forward(self, x):
        """The input is activated already; timm's ECA-NFNets have gamma here and not there."""
        w = self.weight
        variance, mean = torch.var_mean(w, dim=(1, 2, 3), keepdim=True, correction=0)
        w = (w - mean) / torch.sqrt(w[0].numel() * (variance + 1e-5)) * self.gain
        if self.family.eca:
            w = w * self.family.gamma
        return F.conv2d(self.padded(x), w, self.bias, self.stride, groups=self.groups)

    def padded(self, x):
        (kernel, _), (stride, _) = self.kernel_size, self.stride
        pads = []
        for size in (x.shape[3], x.shape[2]):
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)  # as TensorFlow
            before = kernel // 2 if self.family.eca else total // 2
            pads += [before, kernel // 2 if self.family.eca else total - before]
        return F.pad(x, pads)


class SqueezeExcite(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // 2, 1)
        self.fc2 = nn.Conv2d(channels // 2, channels, 1)

    def forward(self, x):
        return x * self.fc2(self.fc1(x.mean((2, 3), keepdim=True)).relu()).sigmoid()


class EfficientAttention(nn.Module):
    def __init__(self, channels):
        super().__init__()
        size = max(int((math.log2(channels) + 1) / 2), 3)
        size += 1 - size % 2
        self.conv = nn.Conv1d(1, 1, size, padding=size // 2, bias=False)

    def forward(self, x):
        return x * self.conv(x.mean((2, 3))[:, None]).sigmoid()[:, 0, :, None, None]


class Downsample(nn.Module):
    def __init__(self, channels, out, family, stride):
        super().__init__()
        self.pool = nn.AvgPool2d(2, stride, ceil_mode=True, count_include_pad=False)
        self.conv = StdConv(channels, out, 1, family)
        self.stride = stride

    def forward(self, x):
        return self.conv(self.pool(x) if self.stride > 1 else x)


class Block(nn.Module):
    def __init__(self, channels, out, groups, stride, beta, family):
        super().__init__()
        inner = int(out * family.bottleneck)
        self.family, self.beta = family, beta
        self.downsample = None
        if stride > 1 or channels != out:
            self.downsample = Downsample(channels, out, family, stride)
        self.conv1 = StdConv(channels, inner, 1, family)
        self.conv2 = StdConv(inner, inner, 3, family, stride, groups)
        self.conv2b = StdConv(inner, inner, 3, family, 1, groups)
        self.conv3 = StdConv(inner, out, 1, family)
        self.attn_last = (EfficientAttention if family.eca else SqueezeExcite)(out)
        if not family.eca:
            self.skipinit_gain = nn.Parameter(torch.zeros(()))

    def forward(self, x):
        family = self.family
        branch = activated(x, family) * self.beta
        shortcut = self.downsample(branch) if self.downsample is not None else x
        branch = self.conv1(branch)
        for conv in (self.conv2, self.conv2b, self.conv3):
            branch = conv(activated(branch, family))
        branch = 2 * self.attn_last(branch)
        gain = 1 if family.eca else self.skipinit_gain
        return branch * gain * ALPHA + shortcut


def activated(x, family):
    return family.act(x) * (1 if family.eca else family.gamma)


class NFNet(nn.Module):
    def __init__(self, blocks, family="nfnet", features=3072, width=256):
        super().__init__()
        family = self.family = Family(family)
        widths = [3, width // 16, width // 8, width // 4, width // 2]
        self.stem = nn.Sequential(
            OrderedDict(
                (f"conv{i + 1}", StdConv(widths[i], widths[i + 1], 3, family, stride))
                for i, stride in enumerate((2, 1, 1, 2))
            )
        )
        self.stages = nn.Sequential()
        channels, variance = width // 2, 1.0
        for stage, (count, groups) in enumerate(zip(blocks, (1, 2, 6, 6), strict=True)):
            layer = nn.Sequential()
            for i in range(count):
                stride = 2 if stage > 0 and i == 0 else 1
                out = groups * width
                layer.append(Block(channels, out, groups, stride, variance**-0.5, family))
                variance = (1.0 if i == 0 else variance) + ALPHA**2
                channels = out
            self.stages.append(layer)
        self.final_conv = StdConv(channels, features, 1, family)
        self.head = nn.Sequential(OrderedDict(fc=nn.Linear(features, 10)))

    def forward(self, x):
        first, *rest = self.stem
        x = first(x)
        for conv in rest:
            x = conv(activated(x, self.family))
        local = self.stages[:3](x)
        return local, activated(self.final_conv(self.stages[3](local)), self.family)


if __name__ == "__main__":
    write_maps(NFNet(**json.loads(sys.argv[1])), *sys.argv[2:])
