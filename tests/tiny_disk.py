"""Disks of a few kilobytes, for tests of disks that are really full."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest


@contextmanager
def mounted_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of that size, as `mount` writes it, where this user may mount one."""
    if os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("only root may mount a tiny disk")
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this machine does not let us mount a tiny disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill(disk: Path) -> None:
    """Leave no room on a disk."""
    with suppress(OSError), (disk / "filling").open("wb", buffering=0) as file:
        while True:
            file.write(b"0" * 4096)


@pytest.fixture
def tiny_disk(tmp_path):
    """A file system of 64 kB."""
    with mounted_disk(tmp_path / "disk", "64k") as disk:
        yield disk
