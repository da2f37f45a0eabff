"""OpenVINO without its reports.

Its import, its converter and NNCF send what they do to Google Analytics, under a number that they
keep in the home folder, unless somebody has opted out. Nobody was asked: here they send nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType


@contextmanager
def no_telemetry() -> Iterator[None]:
    """Set the variables by which OpenVINO and NNCF know that nothing is to be sent.

    CI is afterwards as it was; NNCF_CI stays, since NNCF reads it once, when it is imported.
    """
    os.environ.setdefault("NNCF_CI", "1")
    before = os.environ.get("CI")
    os.environ["CI"] = "true"
    try:
        yield
    finally:
        if before is None:
            del os.environ["CI"]
        else:
            os.environ["CI"] = before


def import_openvino() -> ModuleType:
    """Return the module `openvino`; raises ImportError where it is not installed."""
    with no_telemetry():
        import openvino
    return openvino
