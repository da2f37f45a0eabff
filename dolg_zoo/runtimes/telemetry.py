"""Switch off the telemetry of OpenVINO.

Its import, its converter and NNCF report to Google Analytics, with an id in the home folder,
unless the user has opted out.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType


@contextmanager
def no_telemetry() -> Iterator[None]:
    """Set the variables that stop the reports of OpenVINO and NNCF."""
    # CI is restored afterwards; NNCF_CI stays, since NNCF reads it once, at import
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
    """Return the module `openvino`, or raise ImportError."""
    with no_telemetry():
        import openvino
    return openvino
