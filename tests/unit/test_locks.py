"""The locks hold for every supported Python on both machines, and their check would see it if not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
REQUIREMENTS = ROOT / "requirements"
ENVIRONMENTS = [(python, machine) for python in ("3.11", "3.12", "3.13") for machine in ("x86_64", "aarch64")]


@pytest.fixture(scope="module")
def tools():
    """The scripts of requirements/, which find each other as they do when run."""
    sys.path.insert(0, str(REQUIREMENTS))
    try:
        import check_locks
        import compile as compiling
        import indexes

        yield {"check": check_locks, "compile": compiling, "indexes": indexes}
    finally:
        sys.path.remove(str(REQUIREMENTS))


@pytest.mark.parametrize(("python", "machine"), ENVIRONMENTS)
def test_the_shares_agree_on_every_version(tools, python, machine):
    environment = tools["check"].environments()[python, machine]
    versions = {}
    for lock in sorted(REQUIREMENTS.glob("*.lock")):
        for name, version in tools["check"].pins([lock], environment).items():
            assert versions.setdefault(name, version) == version, lock.name
    assert ("tensorflow-cpu" in versions) is (machine == "x86_64")
    assert ("tensorflow" in versions) is (machine == "aarch64")


@pytest.mark.parametrize(
    ("filename", "python", "machine", "fits"),
    [
        ("numpy-2.4.6-cp313-cp313-manylinux_2_28_x86_64.whl", "3.13", "x86_64", True),
        ("numpy-2.4.6-cp313-cp313-manylinux_2_28_x86_64.whl", "3.12", "x86_64", False),
        ("numpy-2.4.6-cp313-cp313-manylinux_2_28_x86_64.whl", "3.13", "aarch64", False),
        ("numpy-2.4.6-cp310-abi3-manylinux2014_aarch64.whl", "3.13", "aarch64", True),
        ("numpy-2.4.6-cp311-cp311-manylinux_2_39_x86_64.whl", "3.11", "x86_64", False),
        ("numpy-2.4.6-py3-none-any.whl", "3.11", "aarch64", True),
        ("numpy-2.4.5-py3-none-any.whl", "3.11", "aarch64", False),
        ("numpy-2.4.6+cpu-py3-none-any.whl", "3.11", "aarch64", True),
        ("numpy-2.4.6.tar.gz", "3.11", "x86_64", False),
    ],
)
def test_a_wheel_fits_a_python_and_a_machine(tools, filename, python, machine, fits):
    allowed = tools["check"].tags(python, machine)
    offer = tools["indexes"].Offer(filename, "")
    assert tools["check"].fits(offer, "2.4.6", python, allowed) is fits


def test_a_wheel_that_excludes_a_python_does_not_fit(tools):
    allowed = tools["check"].tags("3.13", "x86_64")
    offer = tools["indexes"].Offer("numpy-2.4.6-py3-none-any.whl", ">=3.11,<3.13")
    assert not tools["check"].fits(offer, "2.4.6", "3.13", allowed)


def test_a_pin_that_only_some_environments_need_has_a_marker(tools):
    marker, every = tools["compile"].marker, set(ENVIRONMENTS)
    assert marker(every) == ""
    assert marker({key for key in every if key[1] == "aarch64"}) == '; platform_machine == "aarch64"'
    assert marker({key for key in every if key[0] != "3.11"}) == '; python_version in "3.12 3.13"'
    with pytest.raises(SystemExit):
        marker({("3.11", "x86_64"), ("3.12", "aarch64")})


@pytest.fixture
def index(tmp_path):
    """A package index in a folder that offers every pin for Python 3.11 on x86-64 and for nothing else."""
    for lock in [*REQUIREMENTS.glob("*.lock"), REQUIREMENTS / "torch-cuda.txt"]:
        for line in lock.read_text().splitlines():
            if line.startswith("#"):
                continue
            name, version = line.partition(";")[0].split("==")
            page = tmp_path / name / "index.html"
            page.parent.mkdir(exist_ok=True)
            wheel = f"{name.replace('-', '_')}-{version}-cp311-cp311-manylinux_2_28_x86_64.whl"
            with page.open("a") as file:
                file.write(f'<a href="../../{wheel.replace("+", "%2B")}#sha256=0">{wheel}</a>\n')
    return tmp_path


def check(index):
    return subprocess.run(
        [sys.executable, REQUIREMENTS / "check_locks.py"],
        env={
            **os.environ,
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_INDEX_URL": f"file://{index}",
            "PIP_EXTRA_INDEX_URL": "",
            "PIP_FIND_LINKS": "",
            "TORCH_INDEX_URL": f"file://{index}",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_the_check_fails_where_a_pin_has_no_wheel(index):
    (index / "nvidia-cublas" / "index.html").unlink()  # which nobody needs where there is a CPU build
    done = check(index)
    lines = {line.partition(":")[0]: line for line in done.stdout.splitlines()}
    assert done.returncode == 1, done.stderr
    assert "NO WHEEL" not in lines["3.11 x86_64"]
    assert all("NO WHEEL" in lines[f"{p} {m}"] for p, m in ENVIRONMENTS if (p, m) != ("3.11", "x86_64"))
    assert "tensorflow==2.21.0" in lines["3.13 aarch64"]


def test_a_missing_page_is_a_missing_wheel_where_the_pin_is_needed(index):
    (index / "numpy" / "index.html").unlink()
    assert "NO WHEEL for numpy" in check(index).stdout.splitlines()[0]


def test_an_index_that_does_not_answer_is_no_fault_of_the_locks(index):
    environment = {
        **os.environ,
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
        "TORCH_INDEX_URL": f"file://{index}",
    }
    command = [sys.executable, REQUIREMENTS / "check_locks.py"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 3, done.stdout
    assert len(done.stderr.splitlines()) == 1
