"""Call dolg_zoo.weights in processes forked from this one, which has imported all they need.

Each line of the input is one call, as JSON. The answer to it is the id of the process that makes
it, and a second one its outcome, if it lives to give one: the sha256 of each file handed out, or
the error. A line with "run" has this process run a command instead.
"""

import hashlib
import json
import os
import signal
import subprocess
import sys
import traceback

from huggingface_hub import constants, hf_hub_download

from dolg_zoo import weights
from dolg_zoo.weights.manifest import FileHash, HubSource


def call(function, cache_dir, offline=False, **arguments):
    constants.HF_HUB_OFFLINE, constants.HF_HUB_CACHE = offline, cache_dir
    if function == "fetch":
        paths = [weights.fetch(weights.RemoteFile(**arguments.pop("file")), **arguments)]
    elif function == "fetch_preset":
        fields = arguments.pop("entry")
        source = HubSource(**fields.pop("source"))
        files = {name: FileHash(**value) for name, value in fields.pop("files").items()}
        entry = weights.PresetEntry(source=source, files=files, **fields)
        folder = weights.fetch_preset(entry, **arguments).folder
        paths = [folder / name for name in files]
    else:
        folder = weights.fetch_repo(**arguments).folder
        paths = [folder / name for name in arguments["files"]]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def outcome(**arguments):
    try:
        return {"files": call(**arguments)}
    except weights.WeightsError as error:
        return {"error": type(error).__name__, "message": str(error)}
    except Exception:
        return {"error": "raw", "message": traceback.format_exc()}


def say(**words):
    os.write(1, json.dumps(words).encode() + b"\n")  # in one piece, whoever else is writing


if __name__ == "__main__":
    assert hf_hub_download  # imported here, and not anew by each process
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the dead are not to be waited for
    for line in sys.stdin:
        asked = json.loads(line)
        number = asked.pop("number")
        if "run" in asked:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            subprocess.run(asked["run"], check=True)
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)
            say(number=number, done=True)
        elif pid := os.fork():
            say(number=number, pid=pid)
        else:
            say(number=number, outcome=outcome(**asked))
            os._exit(0)
