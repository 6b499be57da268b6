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


def offering(folder, tags):
    """A package index in a folder that offers every pin of every lock as a wheel with these tags."""
    locks = [
        *REQUIREMENTS.glob("*.lock"),
        *REQUIREMENTS.glob("roads/*.lock"),
        REQUIREMENTS / "torch-cuda.txt",
    ]
    for lock in locks:
        for line in lock.read_text().splitlines():
            if line.startswith("#"):
                continue
            name, version = line.partition(";")[0].split("==")
            page = folder / name / "index.html"
            page.parent.mkdir(exist_ok=True)
            wheel = f"{name.replace('-', '_')}-{version}-{tags}.whl"
            with page.open("a") as file:
                file.write(f'<a href="../../{wheel.replace("+", "%2B")}#sha256=0">{wheel}</a>\n')
    return folder


@pytest.fixture
def index(tmp_path):
    """An index that offers every pin for Python 3.11 on x86-64 and for nothing else."""
    return offering(tmp_path, "cp311-cp311-manylinux_2_28_x86_64")


@pytest.fixture
def whole_index(tmp_path):
    """An index that offers every pin for every Python on every machine."""
    return offering(tmp_path, "py3-none-any")


def withdraw(folder, road, pin):
    """Take the version that a road pins from an index; returns it."""
    lines = (REQUIREMENTS / "roads" / f"{road}.lock").read_text().splitlines()
    version = next(line for line in lines if line.startswith(f"{pin}==")).partition("==")[2]
    page = folder / pin / "index.html"
    page.write_text("\n".join(line for line in page.read_text().splitlines() if f"-{version}-" not in line))
    return version


def lines_of(done):
    return {line.partition(":")[0]: line for line in done.stdout.splitlines()}


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


@pytest.mark.slow
def test_the_check_fails_where_a_pin_has_no_wheel(index):
    (index / "nvidia-cublas" / "index.html").unlink()  # which nobody needs where there is a CPU build
    done = check(index)
    lines = lines_of(done)
    assert done.returncode == 1, done.stderr
    assert "NO WHEEL" not in lines["3.11 x86_64"]
    assert all("NO WHEEL" in lines[f"{p} {m}"] for p, m in ENVIRONMENTS if (p, m) != ("3.11", "x86_64"))
    assert "tensorflow==2.21.0" in lines["3.13 aarch64"]


@pytest.mark.slow
def test_a_missing_page_is_a_missing_wheel_where_the_pin_is_needed(index):
    (index / "numpy" / "index.html").unlink()
    assert "NO WHEEL for numpy" in check(index).stdout.splitlines()[0]


@pytest.mark.slow
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


@pytest.mark.slow
def test_every_environment_of_its_own_is_looked_up_for_the_pythons_and_machines_it_has(whole_index):
    done = check(whole_index)
    assert done.returncode == 0, done.stdout + done.stderr
    told = set(lines_of(done)) - {f"{python} {machine}" for python, machine in ENVIRONMENTS}
    roads = {road.stem for road in (REQUIREMENTS / "roads").glob("*.lock")}
    assert {name.split()[0] for name in told} == roads
    assert {name for name in told if name.startswith(("mlserver", "triton"))} == {
        "mlserver 3.11 x86_64",
        "mlserver 3.11 aarch64",
        "triton 3.11 x86_64",
    }
    assert "onnx2tf 3.12 aarch64" in told
    assert "onnx2tf 3.13 aarch64" not in told


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pin", "lacking"),
    [
        ("nvidia-pytriton", {"triton 3.11 x86_64"}),
        ("uvloop", {"mlserver 3.11 x86_64", "mlserver 3.11 aarch64"}),
    ],
)
def test_a_pin_of_such_an_environment_without_a_wheel_is_missed_there(whole_index, pin, lacking):
    """Tandem's own locks have another version of uvloop, or none of the package."""
    version = withdraw(whole_index, next(iter(lacking)).split()[0], pin)
    done = check(whole_index)
    assert done.returncode == 1
    assert {name for name, line in lines_of(done).items() if "NO WHEEL" in line} == lacking
    assert all(f"NO WHEEL for {pin}=={version}" in lines_of(done)[name] for name in lacking)


@pytest.mark.slow
def test_a_gap_that_is_known_is_told_and_fails_nothing_and_is_known_on_its_machine_alone(whole_index):
    version = withdraw(whole_index, "litert", "litert-converter")
    wheel = f"litert_converter-{version}-cp311-cp311-manylinux_2_28_x86_64.whl"
    with (whole_index / "litert-converter" / "index.html").open("a") as page:
        page.write(f'\n<a href="../../{wheel}#sha256=0">{wheel}</a>\n')
    done = check(whole_index)
    lines = lines_of(done)
    assert done.returncode == 1
    assert {name for name in lines if "NO WHEEL" in lines[name]} == {
        "litert 3.12 x86_64",
        "litert 3.13 x86_64",
    }
    assert f"no wheel for litert-converter=={version}, as is known" in lines["litert 3.12 aarch64"]


def test_every_gap_that_is_known_is_a_pin(tools):
    from environments import WITHOUT_WHEEL

    for road, gaps in WITHOUT_WHEEL.items():
        lock = REQUIREMENTS / "roads" / f"{road}.lock"
        for key, names in gaps.items():
            assert any(key in combination for combination in ENVIRONMENTS)
            assert set(names) <= set(tools["compile"].pinned(lock))
