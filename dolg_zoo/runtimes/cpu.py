"""The processor of this machine, and the cores that this process may use."""

from __future__ import annotations

import hashlib
import os
import platform
from pathlib import Path


def cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on all systems
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_name() -> str:
    """Return the name of the processor."""
    return _fields().get("model name") or platform.processor() or platform.machine()


def cpu_flags() -> list[str]:
    """Return the flags of the processor on Linux; empty on other systems."""
    return _fields().get("flags", "").split()


def cpu_id() -> str:
    """Return an id of the processor's kind and instruction sets."""
    stated = "\n".join((platform.machine(), cpu_name(), " ".join(cpu_flags())))
    return hashlib.sha256(stated.encode()).hexdigest()[:16]


def has_gpu() -> bool:
    """Return whether the driver of an NVIDIA GPU is loaded, without TensorFlow."""
    return Path("/proc/driver/nvidia/version").exists()


def _fields() -> dict[str, str]:
    """Return the fields of the first processor on Linux; empty on other systems."""
    try:
        text = Path("/proc/cpuinfo").read_text().partition("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}
