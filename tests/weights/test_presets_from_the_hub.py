"""DOLG.from_preset over a Hub server, as a user's process does it; faults are in tests/faults."""

import json
import subprocess
import sys

import numpy as np

from dolg_zoo.presets import locate_preset

REPO = "someone/their-dolg"
SCRIPT = """
import json, sys
import numpy as np
import dolg_zoo

images = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), dtype="uint8")
model = dolg_zoo.DOLG.from_preset(sys.argv[1])
print(json.dumps([model.metadata["preset"], np.asarray(model(images)[0]).tolist()]))
"""


def test_a_repository_gives_its_model_also_offline(hub, client, embedded_model):
    files = {path.name: path.read_bytes() for path in locate_preset().folder.iterdir()}
    commit = hub.commit(REPO, files)
    images = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), dtype="uint8")
    expected = np.asarray(embedded_model(images)[0])
    for settings in ({}, {"HF_HUB_OFFLINE": "1"}):
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, f"hf://{REPO}"],
            env=client.environment | settings,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        preset, descriptor = json.loads(done.stdout.splitlines()[-1])
        assert preset == f"hf://{REPO}@{commit}"
        np.testing.assert_array_equal(np.float32(descriptor), expected)
