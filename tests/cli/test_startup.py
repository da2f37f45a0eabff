"""What a real process does: how soon it answers, what it imports, what it lets through."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import run_in_forks
from PIL import Image
from small_model import STATED

import dolg_zoo
from dolg_zoo.cli.model import _held_back_stderr
from dolg_zoo.presets import resolve_preset

PACKAGE = Path(dolg_zoo.__file__).parent
HEAVY = (
    "tensorflow",
    "keras",
    "keras_cv",
    "torch",
    "numpy",
    "PIL",
    "faiss",
    "pyarrow",
    "scipy",
)
COMMANDS = ("presets", "info", "embed", "index", "search", "dedupe", "evaluate", "demo")


def python(code, *arguments, **environment):
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )


def dolg(*arguments, **environment):
    return python("from dolg_zoo.cli import main; main()", *arguments, **environment)


def imported_by(code):
    return set(python(f"{code}\nimport sys; print(*sys.modules)").stdout.split())


def test_help_answers_within_a_second():
    times = []
    for _ in range(3):
        begin = time.monotonic()
        assert dolg("--help").returncode == 0
        times.append(time.monotonic() - begin)
    assert min(times) < 1


def test_the_command_imports_nothing_heavy_before_it_has_to():
    modules = imported_by("import dolg_zoo.cli")
    assert "typer" in modules and not modules & {*HEAVY, "huggingface_hub"}


def test_no_package_but_the_layers_of_keras_imports_a_framework():
    names = {file.parent.name for file in PACKAGE.glob("*/__init__.py")}
    names -= {"layers"}
    modules = imported_by("import " + ", ".join(f"dolg_zoo.{name}" for name in names))
    assert "dolg_zoo.publishing.push" in modules
    assert not modules & {"tensorflow", "keras", "keras_cv", "torch", "matplotlib", "sklearn"}


def modules_of_dolg(*arguments, **environment):
    """Run `dolg`; return its result, and the names of the modules that it imported."""
    done = python(
        "import sys, atexit\n"
        "atexit.register(lambda: print('modules:', *sys.modules, file=sys.stderr))\n"
        "from dolg_zoo.cli import main; main()",
        *arguments,
        **environment,
    )
    said, _, modules = done.stderr.rpartition("modules:")
    return done, said, set(modules.split())


def forked_dolg(*arguments, **environment):
    """As `modules_of_dolg`, in a process that need not start Python: for frameworks alone."""
    script = [Path(__file__).with_name("dolg_and_modules.py"), *arguments]
    done = run_in_forks.run(script, {**os.environ, **environment})
    said, _, modules = done.stderr.rpartition("modules:")
    return done, said, set(modules.split())


WITHOUT_FRAMEWORK = {"tensorflow", "keras", "keras_cv", "torch"}


def test_what_would_be_published_is_shown_without_a_framework(tmp_path):
    small = {"hidden_dim": 8, "descriptor_dim": 4, "dilation_rates": ()}
    dolg_zoo.dolg_resnet18_v1(input_shape=(64, 64, 3), **small).save_to_preset(tmp_path / "mine")
    words = ["publish", str(tmp_path / "mine"), "me/mine", "--dry-run"]
    words += [part for key, value in STATED.items() for part in (f"--{key}", value)]
    done, said, modules = modules_of_dolg(*words, TMPDIR=str(tmp_path))
    assert done.returncode == 0, said
    assert "Nothing was sent" in done.stdout and not modules & WITHOUT_FRAMEWORK


@pytest.mark.parametrize("how", [[], ["--json"], ["--constructors"]])
def test_a_list_of_presets_needs_no_framework(how):
    done, _, modules = forked_dolg("presets", *how)
    assert done.returncode == 0 and not modules & WITHOUT_FRAMEWORK


@pytest.mark.parametrize(
    ("command", "named"),
    [
        ("info nothing", "'nothing'"),
        ("search {photos} --query {photos}/rocket.png -p nothing", "'nothing'"),
        ("explain {photos}/rocket.png -p nothing", "'nothing'"),
        ("whiten {photos} -o {empty}/made -p nothing", "'nothing'"),
        ("export nothing -o {empty}/made", "'nothing'"),
        ("train --data {photos} -p nothing -o {empty}/made", "'nothing'"),
        ("train --data {empty} -o {empty}/made", "no image"),
        ("train no-such.toml", "no-such.toml"),
        ("index {empty} -o {empty}/made", "no image"),
        ("map {empty}", "no image"),
        ("demo {empty}", "no image"),
        ("publish {empty} me/mine --dry-run", "no config.json"),
        ("publish {empty}/none me/mine", "no folder"),
        ("publish {preset} me/mine --license mine", "SPDX"),
        ("publish {preset} me/mine --dry-run", "dataset"),
        ("info dolg_resnet50_gldv2", "not in the cache"),
        ("search {photos} --query {photos}/rocket.png -p dolg_resnet50_gldv2", "not in the cache"),
        ("export dolg_resnet50_gldv2 -o {empty}/made", "not in the cache"),
        ("explain {photos}/rocket.png -p hf://me/mine", "not in the cache"),
        ("train --data {photos} -p hf://me/mine -o {empty}/made", "not in the cache"),
    ],
)
def test_what_is_wrong_is_said_before_a_framework_is_imported(photos, tmp_path, command, named):
    (tmp_path / "empty").mkdir()
    folders = {"photos": photos, "empty": tmp_path / "empty", "preset": resolve_preset().folder}
    words = [word.format(**folders) for word in command.split()]
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    done, said, modules = forked_dolg(*words, **offline)
    assert done.returncode == 1 and named in said and "unexpected" not in said
    assert not modules & WITHOUT_FRAMEWORK


def test_the_default_preset_is_described_and_searched_with_without_a_framework(photos, tmp_path):
    environment = {"DOLG_ZOO_CACHE": str(tmp_path / "cache"), "DOLG_ZOO_RUNTIME": "litert"}
    for command in (
        ["info"],
        ["verify"],
        ["search", photos, "--query", photos / "rocket.png"],
        ["dedupe", photos],
        ["index", photos, "-o", tmp_path / "made"],
        ["embed", photos, "-o", tmp_path / "made.npz"],
        ["evaluate", "folder", photos],
        ["map", photos, "-o", tmp_path / "map.png"],
        ["explain", photos / "rocket.png", photos / "coffee.png", "-o", tmp_path / "why.png"],
    ):
        done, said, modules = modules_of_dolg(*command, **environment)
        assert done.returncode in (0, 1) and "unexpected" not in said and "INFO" not in said
        assert not modules & WITHOUT_FRAMEWORK, command
    search = ["search", photos, "--query", photos / "rocket.png"]
    _, _, modules = modules_of_dolg(*search, **environment)
    # each takes a tenth of a second or so, and a search of a known folder a second in all
    assert not modules & {"pydantic", "pyarrow.compute", "PIL.PdfImagePlugin", "scipy", "sklearn"}
    # where the cache has all descriptors, no network is loaded
    _, _, modules = modules_of_dolg("dedupe", photos, **environment)
    assert not any(name.startswith("ai_edge_litert.") for name in modules)


def test_a_warning_shows_while_the_default_preset_is_compiled(photos, tmp_path):
    (tmp_path / "cache").write_text("a file in the place of the folder")
    environment = {"DOLG_ZOO_CACHE": str(tmp_path / "cache"), "DOLG_ZOO_RUNTIME": "litert"}
    done = dolg("embed", photos, "-o", tmp_path / "made.npz", **environment)
    assert done.returncode == 0 and "INFO" not in done.stderr
    assert "compiled again in each process" in done.stderr


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_another_backend_of_keras_is_named_before_anything_is_imported(photos, tmp_path, backend):
    done, said, modules = forked_dolg("export", "-o", tmp_path / "made", KERAS_BACKEND=backend)
    assert done.returncode == 1 and not modules & WITHOUT_FRAMEWORK
    assert said.strip() == (
        f"dolg: dolg-zoo needs Keras on TensorFlow, but KERAS_BACKEND is {backend!r}; unset it, or"
        " set it to tensorflow."
    )
    environment = {"DOLG_ZOO_CACHE": str(tmp_path / "cache"), "DOLG_ZOO_RUNTIME": "litert"}
    done = dolg("embed", photos, "-o", tmp_path / "a.npz", KERAS_BACKEND=backend, **environment)
    assert done.returncode == 0  # the default preset needs no Keras


@pytest.mark.slow
def test_standard_output_is_json_alone_and_tensorflow_is_silent(photos, tmp_path):
    done = dolg(
        "search", photos, "--query", photos / "rocket.png", "--json", DOLG_ZOO_CACHE=str(tmp_path)
    )
    assert done.returncode == 0
    assert json.loads(done.stdout)["matches"][0]["name"] == "rocket.png"
    assert done.stderr == ""


def test_an_error_while_tensorflow_is_imported_shows(photos, tmp_path):
    (tmp_path / "tensorflow.py").write_text(
        "import os\nos.write(2, b'from C++')\nraise ImportError('a broken build')"
    )
    done = dolg(
        "explain", photos / "rocket.png", PYTHONPATH=os.pathsep.join([str(tmp_path), *sys.path])
    )
    assert done.returncode == 1
    assert "from C++" in done.stderr and "a broken build" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_interruption_while_tensorflow_is_imported_shows_no_chatter(photos, tmp_path):
    (tmp_path / "tensorflow.py").write_text(
        "import os\nos.write(2, b'from C++')\nraise KeyboardInterrupt"
    )
    done = dolg(
        "explain", photos / "rocket.png", PYTHONPATH=os.pathsep.join([str(tmp_path), *sys.path])
    )
    assert (done.returncode, done.stderr) == (130, "Interrupted.\n")


def test_without_a_temporary_folder_the_chatter_shows_and_the_command_runs(monkeypatch, capfd):
    def none(*_, **__):
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setenv("DOLG_DEBUG", "")
    monkeypatch.setattr(tempfile, "TemporaryFile", none)
    with _held_back_stderr():
        os.write(2, b"chatter")
    assert capfd.readouterr().err == "chatter"


@pytest.mark.skipif(os.name != "posix", reason="needs a POSIX shell")
@pytest.mark.parametrize(
    ("command", "closed"),
    [
        *product(("presets",), (">&-", "2>&-", "2>&- >&-")),
        *(
            pytest.param(command, "2>&- >&-", marks=pytest.mark.slow)
            # the last imports TensorFlow, which looks at the streams itself
            for command in ("presets --json", "info nothing", "demo")
        ),
    ],
)
def test_a_stream_that_is_closed_is_no_reason_to_fail(command, closed):
    shell = f"{sys.executable} -c 'from dolg_zoo.cli import main; main()' {command} {closed}"
    done = subprocess.run(shell, shell=True, capture_output=True, text=True)
    assert done.returncode == (command == "info nothing")
    text = done.stdout if closed == "2>&-" else done.stderr  # of the stream that is open
    assert "Error" not in text and "nothing" not in done.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("command", ["--help", "--version", "search --help", "presets --json"])
def test_a_full_disk_behind_standard_output_is_told_in_one_line(command, unbuffered):
    shell = f"{sys.executable} -c 'from dolg_zoo.cli import main; main()' {command} >/dev/full"
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run(shell, shell=True, stderr=subprocess.PIPE, text=True, env=environment)
    assert done.returncode == 1
    assert re.fullmatch(r"dolg: .*No space left on device\n", done.stderr)


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="needs POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, getattr(signal, "SIGHUP", None)])
def test_a_signal_to_end_is_an_interruption(photos, tmp_path, number):
    (tmp_path / "tensorflow.py").write_text(
        f"import os, time\nos.kill(os.getpid(), {int(number)})\ntime.sleep(5)"
    )
    # a process inherits what is ignored, and under nohup that is SIGHUP
    done = python(
        f"import signal; signal.signal({int(number)}, signal.SIG_DFL)\n"
        "from dolg_zoo.cli import main; main()",
        "explain",
        photos / "rocket.png",
        PYTHONPATH=os.pathsep.join([str(tmp_path), *sys.path]),
    )
    assert (done.returncode, done.stderr) == (130, "Interrupted.\n")


def test_a_signal_that_was_ignored_still_is():
    # nohup lets a job outlive its terminal
    done = python(
        "import os, signal, sys\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "from dolg_zoo import cli\n"
        "cli.build_app = lambda _: lambda **_: os.kill(os.getpid(), signal.SIGHUP)\n"
        "cli.main()\n"
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
def test_an_output_that_is_a_pipe_gets_the_file_alone(photos, tmp_path):
    shell = (
        f"{sys.executable} -c 'from dolg_zoo.cli import main; main()'"
        f" embed '{photos}' -o /dev/stdout | cat"
    )
    environment = {**os.environ, "DOLG_ZOO_CACHE": str(tmp_path)}
    done = subprocess.run(shell, shell=True, capture_output=True, env=environment)
    with np.load(io.BytesIO(done.stdout)) as file:
        assert file["descriptors"].shape == (4, 512)
    assert b"4 images" not in done.stdout and b"4 images" in done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_each_commands_help_has_an_example(command):
    done, _, _ = forked_dolg(command, "--help", COLUMNS="100")
    assert done.returncode == 0
    assert f"\n    dolg {command}" in done.stdout and "\\b" not in done.stdout


def test_help_tells_the_exit_status():
    text = dolg("--help").stdout
    for status in (
        "0    done",
        "1    an error",
        "2    wrong usage",
        "3    with --strict",
        "130  ",
        "SIGTERM",
    ):
        assert status in text
    for command in COMMANDS:
        assert f"\n  {command} " in text


def test_a_pipe_that_a_picture_goes_to_holds_nothing_else(photos):
    words = ["search", photos, "-q", photos / "rocket.png", "--montage", "/dev/stdout"]
    done = subprocess.run(
        [sys.executable, "-c", "from dolg_zoo.cli import main; main()", *map(str, words)],
        capture_output=True,
        env={**os.environ, "DOLG_ZOO_RUNTIME": "litert"},
    )
    assert done.returncode == 0 and b"rocket.png" in done.stderr
    with Image.open(io.BytesIO(done.stdout)) as picture:
        assert picture.format == "PNG" and done.stdout.startswith(b"\x89PNG")
        picture.load()


@pytest.mark.parametrize(
    ("unbuffered", "command"),
    [
        ("", "--help"),
        ("", "presets --json"),
        ("1", "search no-such-folder -q no-such-file.jpg"),
        ("1", "dedupe {photos} --threshold -1 --csv {photos}/groups.csv"),
        ("", "search {photos} -q {photos}/rocket.png --montage {photos}/found.jpg"),
        ("1", "search {photos} -q {photos}/rocket.png --json --montage {photos}/found.jpg"),
    ],
)
def test_a_reader_that_goes_away_ends_the_command_in_silence(photos, unbuffered, command):
    words = command.format(photos=photos).split()
    reader, writer = os.pipe()
    os.close(reader)
    is_refused = "no-such-file.jpg" in words  # and says so on standard error
    process = subprocess.Popen(
        [sys.executable, "-c", "from dolg_zoo.cli import main; main()", *words],
        stdout=writer,
        stderr=writer if is_refused else subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered, "DOLG_ZOO_RUNTIME": "litert"},
    )
    os.close(writer)
    said = process.communicate()[1] or ""
    assert not any(word in said for word in ("Traceback", "Exception", "Broken", "unexpected"))
    assert process.returncode == is_refused
    # what is to be written is written all the same
    assert all(Path(word).stat().st_size for word in words if word.endswith((".csv", "found.jpg")))
