"""OpenVINO and NNCF send nothing to their makers when we use them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dolg_zoo.runtimes.telemetry import no_telemetry

# argv: a folder with a preset, and what to do. In its own process, for pytest switches NNCF off
SCRIPT = """
import sys
from openvino_telemetry.utils.sender import TelemetrySender

sent = []
TelemetrySender.send = lambda self, backend, message: sent.append(message)
preset, what = sys.argv[1:]
if what == "as it is":
    import openvino
else:
    import keras
    import numpy as np
    from dolg_zoo import DOLG
    images = list(np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), np.uint8))
    model = DOLG.from_preset(preset)
    for precision in ("float32", "int8"):
        model.compile_for_inference("openvino", precision, calibration=images).embed(images)
    # as Keras exports by itself
    signature = [keras.InputSpec(dtype="float32", shape=(None, None, None, 3))]
    model.export("keras.xml", "openvino", verbose=False, input_signature=signature)
print(len(sent))
"""


def sent_by(what, preset, home):
    environment = {k: v for k, v in os.environ.items() if k not in ("CI", "NNCF_CI")}
    environment |= {
        "HOME": str(home),
        "DOLG_ZOO_CACHE": str(home / "cache"),
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
    }
    command = [sys.executable, "-c", SCRIPT, preset, what]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=home)
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split()[-1])


@pytest.mark.slow
def test_compiling_and_quantizing_sends_nothing(model, tmp_path):
    for module in ("openvino_telemetry", "openvino", "nncf"):
        pytest.importorskip(module)
    model.save_to_preset(tmp_path / "preset")
    assert sent_by("ours", tmp_path / "preset", tmp_path) == 0
    assert not (tmp_path / "intel").exists()  # the folder of the number that users are known by
    assert sent_by("as it is", "", tmp_path) > 0


@pytest.mark.parametrize("before", [None, "false"])
def test_the_environment_is_as_before(monkeypatch, before):
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("NNCF_CI", "1")
    if before:
        monkeypatch.setenv("CI", before)
    with no_telemetry():
        assert os.environ["CI"] == "true"
    assert os.environ.get("CI") == before
