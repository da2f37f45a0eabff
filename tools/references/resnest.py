"""Runs a ResNeSt of random weights, written from its paper, in a process without TensorFlow.

Its tensors have timm's names.

Usage: python references/resnest.py ARGUMENTS IMAGES.npz OUT.npz

ARGUMENTS are those of `ResNeSt` as JSON. IMAGES.npz holds float32 images (H, W, 3) by name. OUT.npz
gets the weights, state/KEY, and for each NAME the maps local/NAME and global/NAME.
"""

import json
import sys

import torch
from _random_backbone import write_maps
from torch import nn


class SplitAttention(nn.Module):
    def __init__(self, width):
        super().__init__()
        inner = max(width // 2, 32)
        self.conv = nn.Conv2d(width, 2 * width, 3, padding=1, groups=2, bias=False)
        self.bn0 = nn.BatchNorm2d(2 * width)
        self.fc1 = nn.Conv2d(width, inner, 1)
        self.bn1 = nn.BatchNorm2d(inner)
        self.fc2 = nn.Conv2d(inner, 2 * width, 1)

    def forward(self, x):
        halves = torch.stack(self.bn0(self.conv(x)).relu().chunk(2, dim=1))
        pooled = halves.sum(0).mean((2, 3), keepdim=True)
        logits = self.fc2(self.bn1(self.fc1(pooled)).relu())
        weights = torch.stack(logits.chunk(2, dim=1)).softmax(0)
        return (halves * weights).sum(0)


class Bottleneck(nn.Module):
    def __init__(self, channels, width, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = SplitAttention(width)
        self.halve = nn.AvgPool2d(3, 2, padding=1) if stride > 1 else nn.Identity()
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.downsample = nn.Identity()
        if stride > 1 or channels != 4 * width:
            pool = nn.AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False)
            self.downsample = nn.Sequential(
                pool if stride > 1 else nn.Identity(),
                nn.Conv2d(channels, 4 * width, 1, bias=False),
                nn.BatchNorm2d(4 * width),
            )

    def forward(self, x):
        branch = self.halve(self.conv2(self.bn1(self.conv1(x)).relu()))
        return (self.bn3(self.conv3(branch)) + self.downsample(x)).relu()


class ResNeSt(nn.Module):
    def __init__(self, blocks, stem_width, width=64):
        super().__init__()
        self.conv1 = nn.Sequential(
            nn.Conv2d(3, stem_width, 3, 2, 1, bias=False),
            nn.BatchNorm2d(stem_width),
            nn.ReLU(),
            nn.Conv2d(stem_width, stem_width, 3, 1, 1, bias=False),
            nn.BatchNorm2d(stem_width),
            nn.ReLU(),
            nn.Conv2d(stem_width, 2 * stem_width, 3, 1, 1, bias=False),
        )
        self.bn1 = nn.BatchNorm2d(2 * stem_width)
        channels = 2 * stem_width
        for stage, count in enumerate(blocks, start=1):
            layer = nn.Sequential()
            for i in range(count):
                layer.append(Bottleneck(channels, width, 2 if stage > 1 and i == 0 else 1))
                channels = 4 * width
            self.add_module(f"layer{stage}", layer)
            width *= 2
        self.fc = nn.Linear(channels, 10)

    def forward(self, x):
        x = self.bn1(self.conv1(x)).relu()
        x = nn.functional.max_pool2d(x, 3, 2, 1)
        local = self.layer3(self.layer2(self.layer1(x)))
        return local, self.layer4(local)


if __name__ == "__main__":
    write_maps(ResNeSt(**json.loads(sys.argv[1])), *sys.argv[2:])
