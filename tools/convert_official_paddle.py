"""Ports a checkpoint of feymanpriv/DOLG-paddle: ResNet-50 or 101, without MultiAtrous.

Needs `pip install ".[convert]"`. If descriptors, taps and attention differ from those of a Paddle
reference on random images of several sizes, nothing is written and the exit status is 1. Paddle
itself never opens the checkpoint, for it would execute what a foreign file says.

    python tools/convert_official_paddle.py dolg_r50.pdparams --out dolg_resnet50_paddle
"""

from _conversion import main

if __name__ == "__main__":
    main(
        __doc__,
        format="official_paddle",
        framework="paddle",
        reference="official_paddle.py",
        by_arrays=True,
    )
