"""Ports a checkpoint of dongkyuk/DOLG-pytorch, which was trained with that code.

Needs `pip install ".[convert]"`. The checkpoint is a state dict or Lightning's .ckpt. If
descriptors, taps, attention and logits differ from those of a PyTorch reference on random images of
several sizes, nothing is written and the exit status is 1.

    python tools/convert_dongkyuk_pytorch.py epoch=9.ckpt --out dolg_resnet101_mine
"""

from _conversion import main

if __name__ == "__main__":
    main(
        __doc__,
        format="dongkyuk_pytorch",
        framework="torch",
        reference="dongkyuk_pytorch.py",
    )
