"""Ports a checkpoint of feymanpriv/DOLG: ResNet-50, 101 or 152, with MultiAtrous or without.

Needs `pip install ".[convert]"`. The checkpoint is the official .pyth or its state dict. If
descriptors, taps, attention and logits differ from those of a PyTorch reference on random images of
several sizes, nothing is written and the exit status is 1.

    python tools/convert_official_pytorch.py r50_dolg_512.pt --out dolg_resnet50_gldv2 --license MIT
"""

from _conversion import main

if __name__ == "__main__":
    main(
        __doc__,
        format="official_pytorch",
        framework="torch",
        reference="official_pytorch.py",
    )
