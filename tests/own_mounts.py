"""Processes that may mount what they like, seen by nobody else: for disks that are full."""

import shutil
import subprocess

IN_OWN_MOUNTS = ("unshare", "--map-root-user", "--mount")


def can_mount() -> bool:
    if shutil.which("unshare") is None:
        return False
    trial = [*IN_OWN_MOUNTS, "mount", "-t", "tmpfs", "none", "/tmp"]
    return subprocess.run(trial, capture_output=True).returncode == 0
