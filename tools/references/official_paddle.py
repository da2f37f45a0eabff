"""Runs the official DOLG's Paddle port, rewritten from its description, without TensorFlow.

Upstream runs only without MultiAtrous, and its GeM power is 3. There is no training head in it.
The checkpoint is a file of plain arrays: paddle.load would execute what a foreign file says.

Usage: python references/official_paddle.py STATE.npz IMAGES.npz OUT.npz

STATE.npz holds the state dict's arrays under their keys. Images and output as in
references/official_pytorch.py, without logits.
"""

import re
import sys

import numpy as np
import paddle
from paddle import nn
from paddle.nn import functional as F  # noqa: N812, as Paddle's manual calls it

# ImageNet's, in the order blue, green, red: what the weights were trained with, not infer.py's
MEAN, STD = (0.406, 0.456, 0.485), (0.225, 0.224, 0.229)


def conv(channels, out, size=1, stride=1, bias=False):
    return nn.Conv2D(
        channels, out, size, stride, padding=size // 2, bias_attr=None if bias else False
    )


class Branch(nn.Layer):
    def __init__(self, channels, out, stride):
        super().__init__()
        inner = out // 4
        self.a, self.a_bn = conv(channels, inner), nn.BatchNorm2D(inner)
        self.b, self.b_bn = conv(inner, inner, 3, stride), nn.BatchNorm2D(inner)
        self.c, self.c_bn = conv(inner, out), nn.BatchNorm2D(out)

    def forward(self, x):
        x = F.relu(self.a_bn(self.a(x)))
        x = F.relu(self.b_bn(self.b(x)))
        return self.c_bn(self.c(x))


class Bottleneck(nn.Layer):
    def __init__(self, channels, out, stride):
        super().__init__()
        self.f = Branch(channels, out, stride)
        self.projected = channels != out
        if self.projected:
            self.proj, self.bn = conv(channels, out, 1, stride), nn.BatchNorm2D(out)

    def forward(self, x):
        shortcut = self.bn(self.proj(x)) if self.projected else x
        return F.relu(shortcut + self.f(x))


class Stem(nn.Layer):
    def __init__(self):
        super().__init__()
        self.conv, self.bn = conv(3, 64, 7, 2), nn.BatchNorm2D(64)

    def forward(self, x):
        return F.max_pool2d(F.relu(self.bn(self.conv(x))), 3, 2, 1)


def stage(channels, out, blocks, stride):
    first = ("b1", Bottleneck(channels, out, stride))
    return nn.Sequential(first, *((f"b{i}", Bottleneck(out, out, 1)) for i in range(2, blocks + 1)))


class ResNet(nn.Layer):
    def __init__(self, blocks):
        super().__init__()
        self.stem = Stem()
        self.s1 = stage(64, 256, blocks[0], stride=1)
        self.s2 = stage(256, 512, blocks[1], stride=2)
        self.s3 = stage(512, 1024, blocks[2], stride=2)
        self.s4 = stage(1024, 2048, blocks[3], stride=2)

    def forward(self, x):
        local = self.s3(self.s2(self.s1(self.stem(x))))
        return local, self.s4(local)


class LocalBranch(nn.Layer):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn = conv(1024, 1024, bias=True), nn.BatchNorm2D(1024)
        self.conv2 = conv(1024, 1, bias=True)

    def forward(self, x):
        x = self.bn(self.conv1(x))
        attention = F.softplus(self.conv2(F.relu(x)))
        return attention * F.normalize(x), attention


def gem(x):
    return (x.clip(min=1e-6) ** 3).mean(axis=[2, 3]) ** (1 / 3)


def fuse(local, descriptor):
    """The mean of the part of each local feature that is orthogonal to the global one."""
    vector = descriptor.unsqueeze([2, 3])
    along = (local * vector).sum(axis=1, keepdim=True) / (vector**2).sum(axis=1, keepdim=True)
    return paddle.concat([descriptor, (local - along * vector).mean(axis=[2, 3])], 1)


class DOLG(nn.Layer):
    def __init__(self, blocks, dim):
        super().__init__()
        self.globalmodel = ResNet(blocks)
        self.localmodel = LocalBranch()
        self.fc_t = nn.Linear(2048, 1024)
        self.fc = nn.Linear(2048, dim)

    def forward(self, x):
        local_map, global_map = self.globalmodel(x)
        local, attention = self.localmodel(local_map)
        return {
            "descriptor": self.fc(fuse(local, self.fc_t(gem(global_map)))),
            "local": local_map,
            "global": global_map,
            "attention": attention,
        }


def count_blocks(state):
    found = {
        match.groups() for key in state if (match := re.match(r"globalmodel\.s(\d)\.b(\d+)\.", key))
    }
    return [sum(of == str(stage) for of, _ in found) for stage in (1, 2, 3, 4)]


def load(state):
    """The network, filled with the checkpoint, never with random values first."""
    with paddle.LazyGuard():
        model = DOLG(count_blocks(state), len(state["fc.bias"]))
    missing, unexpected = model.set_state_dict(state)
    if missing or unexpected:
        sys.exit(f"The checkpoint does not fit. Missing: {missing}; unexpected: {unexpected}.")
    model.eval()
    return model


@paddle.no_grad()
def main(checkpoint, images_file, out_file):
    with np.load(checkpoint) as state:
        model = load(dict(state))
    arrays = {}
    for name, image in np.load(images_file).items():
        pixels = (image[..., ::-1].astype(np.float32) / 255 - np.float32(MEAN)) / np.float32(STD)
        batch = paddle.to_tensor(pixels.transpose(2, 0, 1)[None])
        for kind, tensor in model(batch).items():
            arrays[f"{kind}/{name}"] = np.moveaxis(tensor[0].numpy(), 0, -1)
    np.savez(out_file, **arrays)


if __name__ == "__main__":
    main(*sys.argv[1:])
