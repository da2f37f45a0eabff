"""What the references of backbones have in common: random weights, and maps written to a file."""

import numpy as np
import torch


def randomise(net, seed=0):
    """Gives every tensor values that a new network does not have, and keeps signals in range."""
    generator = torch.Generator().manual_seed(seed)
    for key, tensor in net.state_dict().items():
        leaf = key.rpartition(".")[2]
        if leaf == "num_batches_tracked":
            continue
        if leaf in ("bias", "running_mean"):
            tensor.normal_(0, 0.1, generator=generator)
        elif leaf == "weight" and tensor.ndim > 1:
            fan_in = tensor[0].numel()
            tensor.normal_(0, (2 / fan_in) ** 0.5, generator=generator)
        else:  # scales and variances; the last scale of a residual block is a small one
            low, high = (0.1, 0.3) if ".bn3." in key and leaf == "weight" else (0.5, 1.5)
            tensor.uniform_(low, high, generator=generator)


def write_maps(net, images_file, out_file):
    """Writes state/KEY, and for each image (H, W, 3) by its name local/NAME and global/NAME."""
    randomise(net)
    net.eval()
    arrays = {f"state/{key}": tensor.numpy() for key, tensor in net.state_dict().items()}
    for name, image in np.load(images_file).items():
        with torch.no_grad():
            maps = net(torch.from_numpy(image.transpose(2, 0, 1))[None])
        for tap, feature_map in zip(("local", "global"), maps, strict=True):
            arrays[f"{tap}/{name}"] = feature_map[0].permute(1, 2, 0).numpy()
    np.savez(out_file, **arrays)
