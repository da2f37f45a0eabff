"""DOLG.from_preset over a Hub server, as a user's process does it; faults are in tests/faults."""

import json
import subprocess
import sys

import numpy as np
import pytest

REPO = "someone/their-dolg"
# online, and then offline, with the environment read anew and no Hub where it was
SCRIPT = """
import json, os, sys
import numpy as np
import dolg_zoo

images = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), dtype="uint8")
for settings in ({}, {"HF_HUB_OFFLINE": "1", "HF_ENDPOINT": "http://127.0.0.1:9"}):
    os.environ.update(settings)
    for name in [name for name in sys.modules if name.partition(".")[0] == "huggingface_hub"]:
        del sys.modules[name]
    model = dolg_zoo.DOLG.from_preset(sys.argv[1])
    print(json.dumps([model.metadata["preset"], np.asarray(model(images)[0]).tolist()]))
"""


@pytest.mark.slow
def test_a_repository_gives_its_model_also_offline(hub, client, model, tmp_path):
    model.save_to_preset(tmp_path / "preset")
    commit = hub.commit(REPO, {p.name: p.read_bytes() for p in (tmp_path / "preset").iterdir()})
    images = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), dtype="uint8")
    expected = np.asarray(model(images)[0])
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, f"hf://{REPO}"],
        env=client.environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    online, offline = map(json.loads, done.stdout.splitlines()[-2:])
    for preset, descriptor in (online, offline):
        assert preset == f"hf://{REPO}@{commit}"
        np.testing.assert_array_equal(np.float32(descriptor), expected)
