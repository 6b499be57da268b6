"""What the generator says while it runs, to a parent that may be gone."""

import os
import subprocess
import sys

from loadtests.reports import Report, read_report

SAYING = "from loadtests.reports import Report; [Report('closed', n).say() for n in range(3)]; print('more')"


def test_what_is_said_is_what_is_read():
    done = subprocess.run(
        [sys.executable, "-c", SAYING], capture_output=True, text=True, timeout=60, check=True
    )
    said = [read_report(line) for line in done.stdout.splitlines()]
    assert said == [*(Report("closed", number) for number in range(3)), None]


def test_a_parent_that_is_gone_ends_no_round():
    reading, writing = os.pipe()
    with subprocess.Popen([sys.executable, "-c", SAYING], stdout=writing, stderr=subprocess.PIPE) as process:
        os.close(reading)
        os.close(writing)
        _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (0, b"")
