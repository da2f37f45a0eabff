"""A failed import names the file of the user's that is in the way, if there is one."""

import subprocess
import sys

import pytest

FAILS = "import colorsys\n{}['of another']"
CASES = {  # files beside the program, what the installed package does, and the file to rename
    "the package itself": ({"victim.py": "1 / 0"}, "", "victim.py"),
    "a part of Python": ({"colorsys.py": ""}, FAILS, "colorsys.py"),
    "a folder": ({"colorsys/__init__.py": ""}, FAILS, "colorsys/__init__.py"),
    "one that fails": ({"colorsys.py": "1 / 0"}, "import colorsys", "colorsys.py"),
    "none that hides another": ({"mine.py": "", "victims.py": ""}, "import mine\n1 / 0", None),
    "none": ({}, "1 / 0", None),
}
PROGRAM = """
import sys
sys.path.append("installed")
from dolg_zoo._util.imports import import_errors_reported
try:
    with import_errors_reported():
        import victim
except ImportError as error:
    print(error)
"""


@pytest.mark.parametrize("case", CASES)
def test_the_file_that_hides_a_module_is_named(tmp_path, case):
    beside, installed, named = CASES[case]
    files = {**beside, "installed/victim.py": installed, "program.py": PROGRAM}
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    command = [sys.executable, tmp_path / "program.py"]
    said = subprocess.run(command, cwd=tmp_path, text=True, capture_output=True).stdout
    assert said.startswith("victim cannot be imported")
    assert ("Rename it" in said) is (named is not None)
    assert "reinstall" in said if named is None else str(tmp_path / named) in said
