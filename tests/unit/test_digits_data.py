"""The digits load where a machine gives less than usual."""

import subprocess
import sys

NO_SEMAPHORES = """
import _multiprocessing

def refuse(*_, **__):
    raise PermissionError(13, "Permission denied")

_multiprocessing.SemLock = refuse  # what an unwritable /dev/shm does to every semaphore
from models.digits_cnn import data
print(len(data.test_samples().inputs))
"""


def test_the_digits_load_without_a_warning_where_dev_shm_is_not_writable():
    command = [sys.executable, "-W", "error", "-c", NO_SEMAPHORES]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "450\n", "")
