"""Looks for a secret where anybody may look: in files, and in what the system says of every process."""

import os
import subprocess
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

LOOK_UP_S = 0.1
CONTROL = "tandem-tests-must-find-this"
"""A marker that is there for the whole time: who does not see it would not see a secret either."""


@dataclass(frozen=True)
class Sight:
    """A process that showed a text, by its command line, and whether in that or in its environment."""

    command: str
    where: str


@dataclass
class Watch:
    """What was seen; complete at the end of `watched`."""

    seen: set[Sight] = field(default_factory=set)
    controls: set[str] = field(default_factory=set)

    def look(self, secret: bytes) -> None:
        """Read what the system says of all processes now."""
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                command = (folder / "cmdline").read_bytes()
                told = {"arguments": command, "environment": (folder / "environ").read_bytes()}
                for where, text in told.items():
                    if secret in text:
                        self.seen.add(Sight(command.replace(b"\0", b" ").decode(errors="replace"), where))
                    if CONTROL.encode() in text:
                        self.controls.add(where)


@contextmanager
def watched(secret: str) -> Iterator[Watch]:
    """Watch all processes for the secret while this runs, and make sure that the watch sees them."""
    watch, ended = Watch(), threading.Event()

    def look() -> None:
        while not ended.wait(LOOK_UP_S):
            watch.look(secret.encode())

    thread = threading.Thread(target=look)
    command = ["sh", "-c", f"sleep 600 # {CONTROL}"]
    with subprocess.Popen(command, env=os.environ | {"MARK": CONTROL}) as control:
        thread.start()
        try:
            yield watch
        finally:
            watch.look(secret.encode())
            ended.set()
            thread.join()
            control.kill()
    assert watch.controls == {"arguments", "environment"}


def holding(folder: Path, secret: str) -> list[str]:
    """Files below a folder that hold the secret, packed or not."""
    found = []
    for path in folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            if zipfile.is_zipfile(path):
                with zipfile.ZipFile(path) as packed:
                    content += b"".join(map(packed.read, packed.namelist()))
            if secret.encode() in content:
                found.append(str(path))
    return found
