"""How long does a command of `dolg` take, from the start of its process to its end?

    python tools/benchmark.py start PHOTOS --json start.json

PHOTOS is a folder of photographs with a subfolder for each thing. All is computed by the default
preset and the default runtime. Every command has run once before it is timed, so that the preset is
compiled and the photographs' descriptors are cached; "first search" begins with an empty cache.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from benchmarks.common import in_turn, machine, timed, write_json
from dolg_zoo.preprocessing import list_images

DOLG = ["-c", "from dolg_zoo.cli import main; main()"]
EMBED_ONE = ["-c", "import sys, dolg_zoo; dolg_zoo.embedder().embed([sys.argv[1]])"]
COMMANDS = {  # name: what Python is started with, and the exit status
    "help": ([*DOLG, "--help"], 0),
    "presets": ([*DOLG, "presets"], 0),
    "info": ([*DOLG, "info"], 0),
    "info of a misspelt preset": ([*DOLG, "info", "dolg_efficientnet_lite_b0_places_product"], 1),
    "train on an empty folder": ([*DOLG, "train", "--data", "{empty}", "-o", "{scratch}/run"], 1),
    "publish what is no preset": ([*DOLG, "publish", "{empty}", "me/mine", "--dry-run"], 1),
    "one photograph in Python": ([*EMBED_ONE, "{query}"], 0),
    "demo": ([*DOLG, "demo"], 0),
    "first search": ([*DOLG, "search", "{photos}", "--query", "{query}"], 0),
    "second search": ([*DOLG, "search", "{photos}", "--query", "{query}"], 0),
    "dedupe": ([*DOLG, "dedupe", "{photos}"], 0),
    "evaluate": ([*DOLG, "evaluate", "folder", "{photos}"], 0),
    "explain": ([*DOLG, "explain", "{query}", "{other}", "-o", "{scratch}/why.png"], 0),
    "map": ([*DOLG, "map", "{photos}", "-o", "{scratch}/map.png"], 0),
}


def add_arguments(parser):
    parser.add_argument("photos", type=Path, metavar="PHOTOS")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", default=COMMANDS, choices=COMMANDS)
    parser.add_argument("--json", type=Path, help="write the figures there as well")


def run(arguments):
    images = list_images(arguments.photos)
    found = {**machine(), "photographs": len(images)}
    with tempfile.TemporaryDirectory() as scratch:
        (empty := Path(scratch, "empty")).mkdir()
        values = {
            "photos": arguments.photos,
            "query": images[0],
            "other": images[1],
            "empty": empty,
            "scratch": scratch,
        }
        sides = {name: timed(partial(start, name, values)) for name in arguments.only}
        found["seconds"] = in_turn(sides, arguments.rounds)
    print(json.dumps(found, indent=1))
    write_json(arguments.json, found)


def start(name, values):
    """Run a command to its end."""
    words, status = COMMANDS[name]
    cache = Path(values["scratch"], "empty cache" if name == "first search" else "cache")
    if name == "first search":
        shutil.rmtree(cache, ignore_errors=True)
    done = subprocess.run(
        [sys.executable, *(word.format(**values) for word in words)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "DOLG_ZOO_CACHE": str(cache)},
    )
    if done.returncode != status:
        raise SystemExit(f"{name} ended with {done.returncode}, not {status}: {done.stderr}")
