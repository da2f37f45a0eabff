"""Processes that may mount what they like, seen by nobody else: for disks that are full."""

import shutil
import subprocess

IN_OWN_MOUNTS = ("unshare", "--map-root-user", "--mount")
AS_THE_TESTS_DO = """
mount -t tmpfs -o size=64k none /tmp
mount -o remount,size=1m /tmp  # which root may, and other users not everywhere
mkdir /tmp/part
mount --bind /tmp/part /tmp/part
mount -o remount,bind,ro /tmp/part
"""


def can_mount() -> bool:
    if shutil.which("unshare") is None:
        return False
    trial = [*IN_OWN_MOUNTS, "sh", "-ec", AS_THE_TESTS_DO]
    return subprocess.run(trial, capture_output=True).returncode == 0
