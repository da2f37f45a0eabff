"""Runs dongkyuk's DOLG, rewritten from its description, in a process without TensorFlow.

Usage: python references/dongkyuk_pytorch.py CHECKPOINT IMAGES.npz OUT.npz

Files as in references/official_pytorch.py; the attention has as many channels as the local feature.
"""

import sys

import torch
from official_pytorch import (  # beside this script
    TARGET,
    GeM,
    count_blocks,
    describe,
    fuse,
    load,
    read_checkpoint,
)
from torch import nn
from torch.nn import functional as F  # noqa: N812, as PyTorch's manual calls it


class Bottleneck(nn.Module):
    def __init__(self, channels, out, stride):
        super().__init__()
        inner = out // 4
        self.conv1 = nn.Conv2d(channels, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out)
        self.downsample = nn.Identity()
        if channels != out:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out)
            )

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.downsample(x) + self.bn3(self.conv3(y)))


def layer(channels, out, blocks, stride):
    return nn.Sequential(
        *(
            Bottleneck(channels, out, stride) if i == 0 else Bottleneck(out, out, 1)
            for i in range(blocks)
        )
    )


class ResNet(nn.Module):
    """Up to the third layer, the global tap."""

    def __init__(self, blocks):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = layer(64, 256, blocks[0], stride=1)
        self.layer2 = layer(256, 512, blocks[1], stride=2)
        self.layer3 = layer(512, 1024, blocks[2], stride=2)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        local = self.layer2(self.layer1(x))
        return local, self.layer3(local)


class MultiAtrous(nn.Module):
    def __init__(self, channels, out):
        super().__init__()
        self.gap_branch = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, out, 1), nn.ReLU()
        )
        # the branch of the average has a second name here, under which its tensors are loaded last
        self.dilated_convs = nn.ModuleList(
            [
                *(nn.Conv2d(channels, out, 3, padding=d, dilation=d) for d in (3, 6, 9)),
                self.gap_branch,
            ]
        )

    def forward(self, x):
        # upstream resizes the one value of the average to a fixed size: at any size it is constant
        return torch.cat([conv(x).expand(-1, -1, *x.shape[2:]) for conv in self.dilated_convs], 1)


class LocalBranch(nn.Module):
    def __init__(self, channels, branch, hidden):
        super().__init__()
        self.multi_atrous = MultiAtrous(channels, branch)
        self.conv1x1_1 = nn.Conv2d(4 * branch, hidden, 1)
        self.conv1x1_2 = nn.Conv2d(hidden, hidden, 1, bias=False)
        self.bn = nn.BatchNorm2d(hidden)
        self.conv1x1_3 = nn.Conv2d(hidden, hidden, 1)

    def forward(self, x):
        x = self.bn(self.conv1x1_2(F.relu(self.conv1x1_1(self.multi_atrous(x)))))
        attention = F.softplus(self.conv1x1_3(F.relu(x)))
        return attention * F.normalize(x), attention


class ArcFace(nn.Module):
    """The training head. Scale and margin were fitted to upstream's logits and loss.

    They show no easy margin (a negative cosine gets the margin too) and no label smoothing. No
    target there is beyond π − margin, so they do not show what upstream does with such a one.
    """

    SCALE, MARGIN = 30.0, 0.15

    def __init__(self, dim, classes):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(classes, dim))

    def forward(self, x, target):
        cosine = F.linear(F.normalize(x), F.normalize(self.weight)).clamp(-1, 1)
        cosine[:, target] = (cosine[:, target].acos() + self.MARGIN).cos()
        return self.SCALE * cosine


class DOLG(nn.Module):
    def __init__(self, blocks, branch, hidden, dim, classes):
        super().__init__()
        self.cnn = ResNet(blocks)
        self.local_branch = LocalBranch(512, branch, hidden)
        self.gem_pool = GeM()
        self.fc_1 = nn.Linear(1024, hidden)
        self.fc_2 = nn.Linear(2 * hidden, dim)
        self.criterion = ArcFace(dim, classes) if classes else None

    def forward(self, x):
        local_map, global_map = self.cnn(x)
        local, attention = self.local_branch(local_map)
        descriptor = self.fc_2(fuse(local, self.fc_1(self.gem_pool(global_map))))
        found = {
            "descriptor": descriptor,
            "local": local_map,
            "global": global_map,
            "attention": attention,
        }
        if self.criterion is not None:
            found["logits"] = self.criterion(descriptor, TARGET % len(self.criterion.weight))
        return found


def main(checkpoint, images_file, out_file):
    state = read_checkpoint(checkpoint, "fc_1.weight", ("criterion.weight",))
    model = load(
        state,
        DOLG,
        count_blocks(state, r"cnn\.layer(\d)\.(\d+)\.", stages=(1, 2, 3)),
        len(state["local_branch.multi_atrous.dilated_convs.0.weight"]),
        len(state["fc_1.weight"]),
        len(state["fc_2.weight"]),
        len(state.get("criterion.weight", ())),
    )
    describe(model, images_file, out_file, bgr=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
