"""Train as small_run says in this process, without what takes longest; kill it at a step.

Usage: python train_small_run.py FOLDER OUTPUT CHANGES.json-TEXT [KILL_AT]
"""

import json
import os
import signal
import sys
from pathlib import Path

from small_run import config, skip_what_takes_longest

from dolg_zoo.training import train
from dolg_zoo.training.loop import Loop


def kill_at(step):
    """Have this process killed once so many steps are taken."""
    take = Loop.run

    def run(self, batches, first, last):
        for taken in take(self, batches, first, last):
            yield taken
            if taken == step:
                os.kill(os.getpid(), signal.SIGKILL)

    Loop.run = run


if __name__ == "__main__":
    folder, output, changes, *last = sys.argv[1:]
    skip_what_takes_longest(setattr)
    if last:
        kill_at(int(last[0]))
    train(config(Path(folder), **json.loads(changes)), output, relative_to=folder)
