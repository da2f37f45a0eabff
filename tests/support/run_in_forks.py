"""Python scripts, each in a process forked from one that has imported what takes long.

huggingface_hub reads its environment when it is imported, so each script imports it anew: it has a
process of its own, with the environment, arguments and input that a user would give it.
"""

from __future__ import annotations

import atexit
import functools
import io
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

import dolg_zoo


class Forks:
    """The process that is forked, as those who ask it see it."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.address = listener.getsockname()
            self.process = subprocess.Popen(
                [sys.executable, __file__, str(listener.fileno())],
                # the dolg_zoo under test, whether it is installed or found from the working folder
                env={**os.environ, "PYTHONPATH": str(Path(dolg_zoo.__file__).parents[1])},
                stdin=subprocess.PIPE,  # whose end is that of the process
                pass_fds=[listener.fileno()],
            )
        atexit.register(self.close)

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


@functools.cache
def forks() -> Forks:
    """One for all tests of a process."""
    return Forks()


class Script:
    """A script that runs; `communicate` and `returncode` are those of `subprocess.Popen`."""

    returncode: int | None = None

    def __init__(self, command: list, env: dict[str, str], stdin: str | None = None) -> None:
        asked = {
            "command": list(map(str, command)),
            "env": env,
            "stdin": stdin or "",
            "cwd": str(Path.cwd()),
        }
        self.connection = socket.create_connection(forks().address)
        self.connection.sendall(json.dumps(asked).encode() + b"\n")

    def communicate(self, timeout: float = 60) -> tuple[str, str]:
        self.connection.settimeout(timeout)
        with self.connection, self.connection.makefile("rb") as answer:
            said = json.loads(answer.read())
        self.returncode = said["code"]
        return said["stdout"], said["stderr"]


def run(command: list, env: dict[str, str], stdin: str | None = None, timeout: float = 60):
    """As `subprocess.run` of `sys.executable` with a script and its arguments."""
    script = Script(command, env, stdin)
    output, errors = script.communicate(timeout)
    return subprocess.CompletedProcess(command, script.returncode, output, errors)


def serve(listener: socket.socket) -> None:
    import_what_takes_long()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the dead are not to be waited for
    while True:
        ready, _, _ = select.select([listener, sys.stdin], [], [])
        if sys.stdin in ready:
            return
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            answer(connection)
            os._exit(0)
        connection.close()


def import_what_takes_long() -> None:
    from huggingface_hub import HfApi, hf_hub_download, try_to_load_from_cache

    import dolg_zoo.checkpoints.readers.pytorch_zip
    import dolg_zoo.preprocessing
    from dolg_zoo.weights import load_manifest

    assert all((HfApi, hf_hub_download, try_to_load_from_cache, dolg_zoo.preprocessing))
    load_manifest()
    # what it imported stays, and it is imported itself anew: that is when it reads its environment
    for name in [name for name in sys.modules if name.partition(".")[0] == "huggingface_hub"]:
        del sys.modules[name]


def redirected(name: str, number: int):
    """A file that takes the place of a stream, for Python and for what is written beneath it."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - it is open for as long as the process
    os.dup2(file.fileno(), number)
    stream = io.TextIOWrapper(io.FileIO(number, "w", closefd=False), encoding="utf-8")
    stream.reconfigure(write_through=True)
    setattr(sys, name, stream)
    return file


def written_to(file) -> str:
    sys.stdout.flush()
    sys.stderr.flush()
    file.seek(0)
    return file.read().decode("utf-8", "surrogateescape")


def answer(connection: socket.socket) -> None:
    with connection.makefile("rb") as question:
        asked = json.loads(question.readline())
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["env"])
    output, errors = redirected("stdout", 1), redirected("stderr", 2)
    sys.stdin = io.StringIO(asked["stdin"])
    script, *_ = sys.argv = asked["command"]
    sys.path[:1] = [str(Path(script).parent), *asked["env"].get("PYTHONPATH", "").split(os.pathsep)]
    code = 0
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as exit:
        code = exit.code
        if isinstance(code, str):
            print(code, file=sys.stderr)
        code = int(code is not None) if not isinstance(code, int) else code
    except BaseException:
        traceback.print_exc()
        code = 1
    said = {"code": code, "stdout": written_to(output), "stderr": written_to(errors)}
    connection.sendall(json.dumps(said).encode())


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
