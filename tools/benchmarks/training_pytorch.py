"""Trains DOLG-R50 with ArcFace in PyTorch: the step that `benchmark.py training` compares with.

Usage, by a `Worker` of benchmarks/common.py: python -m benchmarks.training_pytorch BATCH SIZE
CLASSES DIM
"""

import math
import sys

import torch
from references.official_pytorch import DOLG, MEAN, STD
from torch import nn
from torch.nn import functional as F  # noqa: N812, as PyTorch's manual calls it

from benchmarks.common import serve

WARM_UP = 3


class ArcFace(nn.Module):
    """The formula of the paper, with the scale and the margin of the layer it is compared with."""

    SCALE, MARGIN = 64.0, 0.5

    def __init__(self, dim, classes):
        super().__init__()
        self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(classes, dim)))

    def forward(self, x, labels):
        cosine = F.linear(F.normalize(x), F.normalize(self.weight))
        of_target = cosine.gather(1, labels[:, None])
        sine = (1 - of_target.square()).clamp(min=1e-12).sqrt()
        widened = of_target * math.cos(self.MARGIN) - sine * math.sin(self.MARGIN)
        return self.SCALE * cosine.scatter(1, labels[:, None], widened)


class Step:
    """One training step on one batch that lies in memory."""

    def __init__(self, batch, size, classes, dim):
        torch.manual_seed(0)
        self.images = torch.randint(0, 256, (batch, 3, size, size), dtype=torch.uint8)
        self.labels = torch.randint(0, classes, (batch,))
        self.model = DOLG([3, 4, 6, 3], True, dim, 0)
        nn.init.constant_(self.model.pool_g.p, 3.0)
        self.head = ArcFace(dim, classes)
        self.mean = torch.tensor(MEAN)[:, None, None]
        self.std = torch.tensor(STD)[:, None, None]
        weights = [*self.model.parameters(), *self.head.parameters()]
        self.optimizer = torch.optim.SGD(weights, lr=1e-3, momentum=0.9)

    def __call__(self):
        x = (self.images.float() / 255 - self.mean) / self.std
        logits = self.head(self.model(x)["descriptor"], self.labels)
        loss = F.cross_entropy(logits, self.labels)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return loss.item()


def main(batch, size, classes, dim):
    step = Step(batch, size, classes, dim)

    def take(steps):
        for _ in range(steps):
            loss = step()
        if not math.isfinite(loss):
            raise ArithmeticError(f"The loss became {loss}.")

    take(WARM_UP)
    serve({"steps": take}, f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
