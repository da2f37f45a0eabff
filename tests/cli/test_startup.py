"""What a real process does: how soon it answers, what it imports, what it lets through."""

import json
import os
import subprocess
import sys
import time

import pytest

HEAVY = ("tensorflow", "keras", "keras_cv", "torch", "numpy", "PIL", "faiss", "skimage")
COMMANDS = ("presets", "info", "embed", "search", "demo")


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
    assert "typer" in modules and not modules & set(HEAVY)


def test_the_package_imports_no_framework():
    modules = imported_by("import dolg_zoo")
    assert "dolg_zoo" in modules and not modules & {"tensorflow", "keras", "keras_cv", "torch"}


def test_a_list_of_presets_needs_no_framework():
    done = python(
        "import sys, atexit\n"
        "atexit.register(lambda: print(*sys.modules, file=sys.stderr))\n"
        "from dolg_zoo.cli import main; main()",
        "presets",
    )
    assert done.returncode == 0 and not set(done.stderr.split()) & {"tensorflow", "keras"}


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
    done = dolg("info", PYTHONPATH=os.pathsep.join([str(tmp_path), *sys.path]))
    assert done.returncode == 1
    assert "from C++" in done.stderr and "a broken build" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_each_commands_help_has_an_example(command):
    done = dolg(command, "--help", COLUMNS="100")
    assert done.returncode == 0
    assert f"\n    dolg {command}" in done.stdout and "\\b" not in done.stdout


def test_help_tells_the_exit_status():
    text = dolg("--help").stdout
    for status in ("0    done", "1    an error", "2    wrong usage", "3    with --strict", "130 "):
        assert status in text
    for command in COMMANDS:
        assert f"\n  {command} " in text
