"""The entry scripts make the command lines that `server.py` makes on a host."""

import os
import subprocess
from pathlib import Path

import pytest

from models.spec import load_model
from pipelines.package.recipes import torchserve_config
from pipelines.targets.server_plan import PRESETS, ServeRequest, preset_lines
from pipelines.targets.tfserving import server as tfserving
from pipelines.targets.torchserve import server as torchserve

DOCKER = Path(__file__).parents[2] / "docker"


def run(script: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(script), *arguments],
        env={"PATH": os.environ["PATH"], "MODEL_NAME": "digits_cnn", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    """What an image has in /etc/tandem, of both servers."""
    (tmp_path / "presets").mkdir()
    for presets in (torchserve.PRESETS, tfserving.PRESETS):
        for preset in presets.iterdir():
            (tmp_path / "presets" / preset.name).write_bytes(preset.read_bytes())
    (tmp_path / "config.properties").write_bytes(torchserve_config(load_model("digits_cnn")))
    return tmp_path


@pytest.fixture
def java(tmp_path: Path) -> Path:
    """Prints its arguments and the configuration file among them."""
    path = tmp_path / "java"
    path.write_text(
        '#!/bin/sh\nprintf "%s\\n" "$@"\nwhile [ "$1" != -f ]; do shift; done\necho ---; cat "$2"\n'
    )
    path.chmod(0o755)
    return path


def run_torchserve(etc, java, tmp_path, **environment):
    return run(
        DOCKER / "torchserve" / "entrypoint.sh",
        TANDEM_ETC=str(etc),
        TANDEM_JAVA=str(java),
        TMPDIR=str(tmp_path),
        **{"TANDEM_PRESET": "default", "TANDEM_METRICS": "off", **environment},
    )


def properties(lines: list[str]) -> dict[str, str]:
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def local_config(tmp_path: Path, preset: str) -> tuple[dict[str, str], list[str]]:
    """Settings and options of the virtual machine that a TorchServe on this host gets."""
    work = tmp_path / "work"
    work.mkdir()
    plan = torchserve.plan(ServeRequest(load_model("digits_cnn"), tmp_path, work, preset))
    options = [word for word in plan.launch.argv if word.startswith("-X")]
    return properties((work / "config.properties").read_text().splitlines()), options


ADDRESSES = {
    "inference_address",
    "management_address",
    "metrics_address",
    "grpc_inference_address",
    "grpc_inference_port",
    "grpc_management_address",
    "grpc_management_port",
}


@pytest.mark.parametrize("preset", PRESETS)
def test_torchserve_gets_the_same_settings_as_on_a_host(etc, java, tmp_path, preset):
    done = run_torchserve(etc, java, tmp_path, TANDEM_PRESET=preset)
    assert done.returncode == 0, done.stderr
    arguments, _, config = done.stdout.partition("---\n")
    settings, options = local_config(tmp_path, preset)
    got = properties(config.splitlines())
    assert {k: v for k, v in got.items() if k not in ADDRESSES} == {
        k: v for k, v in settings.items() if k not in ADDRESSES
    }
    assert [word for word in arguments.splitlines() if word.startswith("-X")] == options
    assert "digits_cnn=digits_cnn.mar" in arguments.splitlines()


def test_torchserve_listens_for_inference_only(etc, java, tmp_path):
    got = properties(run_torchserve(etc, java, tmp_path).stdout.partition("---\n")[2].splitlines())
    assert got["inference_address"] == "http://0.0.0.0:8080"
    assert got["grpc_inference_address"] == "0.0.0.0"  # noqa: S104 - inside the container
    for name in ("management_address", "metrics_address", "grpc_management_address"):
        assert "127.0.0.1" in got[name]


@pytest.mark.parametrize("preset", PRESETS)
def test_torchserve_metrics_are_opened_when_asked_for(etc, java, tmp_path, preset):
    done = run_torchserve(etc, java, tmp_path, TANDEM_PRESET=preset, TANDEM_METRICS="prometheus")
    lines = done.stdout.partition("---\n")[2].splitlines()
    assert [line for line in lines if line.startswith("metrics_")] == [
        "metrics_mode=prometheus",
        "metrics_address=http://0.0.0.0:8082",
    ]


@pytest.mark.parametrize("preset", PRESETS)
def test_tfserving_gets_the_same_flags_as_on_a_host(etc, preset):
    done = run(
        DOCKER / "tfserving" / "entrypoint.sh",
        *("printf", "%s\\n"),
        TANDEM_ETC=str(etc),
        TANDEM_PRESET=preset,
        TANDEM_METRICS="off",
    )
    assert done.stdout.splitlines() == [
        "--port=8500",
        "--rest_api_port=8501",
        "--model_name=digits_cnn",
        "--model_base_path=/models/digits_cnn",
        *preset_lines(tfserving.PRESETS, preset, ".flags"),
    ]


def test_tfserving_metrics_are_on_when_asked_for(etc):
    done = run(
        DOCKER / "tfserving" / "entrypoint.sh",
        *("printf", "%s\\n"),
        TANDEM_ETC=str(etc),
        TANDEM_PRESET="default",
        TANDEM_METRICS="prometheus",
    )
    assert done.stdout.splitlines()[-1] == f"--monitoring_config_file={etc}/monitoring.config"


@pytest.mark.parametrize("key", ["torchserve", "tfserving"])
@pytest.mark.parametrize(
    ("wrong", "said"), [({"TANDEM_PRESET": "fast"}, "default"), ({"TANDEM_METRICS": "yes"}, "prometheus")]
)
def test_an_unknown_setting_ends_the_start_and_names_the_allowed(etc, tmp_path, key, wrong, said):
    settings = {"TANDEM_PRESET": "default", "TANDEM_METRICS": "off", "TMPDIR": str(tmp_path), **wrong}
    done = run(DOCKER / key / "entrypoint.sh", "true", TANDEM_ETC=str(etc), **settings)
    assert done.returncode == 2
    assert next(iter(wrong.values())) in done.stderr
    assert said in done.stderr
