"""Images have a Python of their own: the wheels they are given do not follow the Python of this command."""

import platform

import pytest

from pipelines.errors import MachineError
from pipelines.package import wheels

MACHINE = platform.machine()
MINE = f"numpy-2.4.6-cp311-cp311-manylinux_2_28_{MACHINE}.whl"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TANDEM_WHEELS", str(tmp_path))
    (tmp_path / "pip-26.0-py3-none-any.whl").touch()
    return tmp_path


def quiet(*_):
    return None


@pytest.mark.parametrize(
    "other",
    [
        f"numpy-2.4.6-cp313-cp313-manylinux_2_28_{MACHINE}.whl",
        "numpy-2.4.6-cp311-cp311-manylinux_2_28_riscv64.whl",
        f"numpy-2.4.6-cp311-cp311-manylinux_2_41_{MACHINE}.whl",
        f"numpy-2.4.7-cp311-cp311-manylinux_2_28_{MACHINE}.whl",
    ],
)
def test_only_a_wheel_for_the_images_python_machine_and_c_library_counts(folder, monkeypatch, other):
    monkeypatch.setattr(wheels, "_fetch", lambda wanted, into: [(into / MINE).touch() for _ in wanted])
    (folder / other).touch()
    assert [path.name for path in wheels.collect({"numpy": "2.4.6"}, quiet, "x")] == [
        MINE,
        "pip-26.0-py3-none-any.whl",
    ]


def test_what_is_there_is_not_fetched_again(folder, monkeypatch):
    monkeypatch.setattr(wheels, "_fetch", lambda *_: pytest.fail("fetched"))
    (folder / MINE).touch()
    (folder / "enum_compat-0.0.3-py3-none-any.whl").touch()
    (folder / "not a wheel.whl").touch()
    assert len(wheels.collect({"numpy": "2.4.6", "enum-compat": "0.0.3"}, quiet, "x")) == 3


def test_a_wheel_that_pip_did_not_bring_is_named(folder, monkeypatch):
    monkeypatch.setattr(wheels, "_fetch", lambda *_: None)
    with pytest.raises(MachineError, match="collected numpy, but no such wheel"):
        wheels.collect({"numpy": "2.4.6"}, quiet, "x")


def test_pip_is_asked_for_the_images_python(folder, monkeypatch):
    asked = []

    def no_pip(command, **_):
        asked.extend(command)
        raise FileNotFoundError

    monkeypatch.setattr(wheels.subprocess, "Popen", no_pip)
    with pytest.raises(FileNotFoundError):
        wheels.collect({"numpy": "2.4.6"}, quiet, "x")
    assert asked[asked.index("--python-version") + 1] == "3.11"
    assert f"manylinux_2_36_{MACHINE}" in asked
    assert f"manylinux_2_37_{MACHINE}" not in asked


def test_the_password_of_an_index_is_in_no_argument(folder, monkeypatch):
    index = "https://somebody:s3cr3t@packages.example/cpu"
    monkeypatch.setenv("TORCH_INDEX_URL", index)
    asked = []

    class Pip:
        returncode = 1

        def __init__(self, command, env, **_):
            assert not [text for text in (*command, *env.values()) if "s3cr3t" in text]

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def communicate(self, requirements):
            asked.append(requirements.decode().splitlines())
            return b"ERROR: no such wheel", None

    monkeypatch.setattr(wheels.subprocess, "Popen", Pip)
    monkeypatch.setattr(wheels, "end_group", lambda _: None)
    with pytest.raises(MachineError, match="no such wheel") as caught:
        wheels.collect({"torch": "2.13.0+cpu"}, quiet, "x")
    assert asked == [["torch==2.13.0+cpu"], [f"--extra-index-url {index}", "torch==2.13.0+cpu"]]
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize(
    ("machine", "package", "other"),
    [("x86_64", "tensorflow-cpu", "tensorflow"), ("aarch64", "tensorflow", "tensorflow-cpu")],
)
def test_a_share_is_what_its_machine_needs(monkeypatch, machine, package, other):
    monkeypatch.setattr(platform, "machine", lambda: machine)
    pins = wheels.share(["tensorflow"], ())
    assert package in pins
    assert other not in pins
