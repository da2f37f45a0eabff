"""Our ResNet v1.5 against one written in PyTorch, on random weights."""

import keras
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from dolg_zoo.backbones.resnet import resnet  # noqa: E402


class Reference:
    """ResNet with the stride on the 3x3, computed by torch from the variables of our network."""

    def __init__(self, network):
        self.variables = {v.path: torch.from_numpy(v.numpy().copy()) for v in network.weights}

    def conv_bn(self, x, conv, bn, stride=1):
        kernel = self.variables[f"{conv}/kernel"].permute(3, 2, 0, 1)
        x = torch.nn.functional.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2)
        gamma, beta, mean, variance = (
            self.variables[f"{bn}/{kind}"]
            for kind in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        return torch.nn.functional.batch_norm(x, mean, variance, gamma, beta, eps=1e-5)

    def __call__(self, x, blocks):
        x = torch.relu(self.conv_bn(x, "stem_conv", "stem_bn", 2))
        x = torch.nn.functional.max_pool2d(x, 3, 2, 1)
        maps = []
        for stage, count in enumerate(blocks, start=1):
            for i in range(1, count + 1):
                name, stride = f"s{stage}_b{i}", 2 if stage > 1 and i == 1 else 1
                y = torch.relu(self.conv_bn(x, f"{name}_a", f"{name}_a_bn"))
                y = torch.relu(self.conv_bn(y, f"{name}_b", f"{name}_b_bn", stride))
                y = self.conv_bn(y, f"{name}_c", f"{name}_c_bn")
                if i == 1:
                    x = self.conv_bn(x, f"{name}_proj", f"{name}_bn", stride)
                x = torch.relu(x + y)
            maps.append(x)
        return maps


@pytest.mark.parametrize(
    ("depth", "blocks", "size"),
    [
        (50, (3, 4, 6, 3), (75, 101)),
        pytest.param(*(50, (3, 4, 6, 3), (64, 64)), marks=pytest.mark.slow),
        pytest.param(*(101, (3, 4, 23, 3), (75, 101)), marks=pytest.mark.slow),
    ],
)
def test_resnet_equals_pytorch_at_every_stage(depth, blocks, size, rng):
    network, levels = resnet(depth)
    for variable in network.weights:
        if variable.name in ("gamma", "moving_variance"):
            low, high = (0.1, 0.3) if "_c_bn" in variable.path else (0.5, 1.5)
            variable.assign(rng.uniform(low, high, variable.shape))
        elif variable.name in ("beta", "moving_mean"):
            variable.assign(rng.normal(0, 0.1, variable.shape))
    stages = keras.Model(network.input, [network.get_layer(n).output for n in levels.values()])
    image = rng.normal(size=(2, *size, 3)).astype(np.float32)

    ours = stages.predict(image, verbose=0)

    with torch.no_grad():
        theirs = Reference(network)(torch.from_numpy(image).permute(0, 3, 1, 2), blocks)
    for our, their in zip(ours, theirs, strict=True):
        their = their.permute(0, 2, 3, 1).numpy()
        assert our.shape == their.shape
        np.testing.assert_allclose(our, their, rtol=0, atol=1e-4 * np.abs(their).max())
