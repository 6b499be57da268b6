"""The entry scripts start what `server.py` starts on a host, from what a preset resolves to."""

import os
import subprocess
from pathlib import Path

import pytest

from models.spec import load_model
from pipelines.targets.presets import SHIPPED, Preset, resolve
from pipelines.targets.server_plan import ServeRequest
from pipelines.targets.tfserving import server as tfserving
from pipelines.targets.tfserving.settings import CONTAINER_FOLDER
from pipelines.targets.torchserve import server as torchserve

DOCKER = Path(__file__).parents[2] / "docker"
SPEC = load_model("digits_cnn")
OWN = "[torchserve]\ndefault_workers_per_model = 2\ntorch_threads = 3\nrequest_log = false\n"
OWN += 'max_request_size = 7000000\nvmargs = ["-Xmx300m"]\n'
OWN += "[tfserving]\nrest_api_num_threads = 3\nenable_model_warmup = false\n"


def run(script: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(script), *arguments],
        env={"PATH": os.environ["PATH"], "MODEL_NAME": "digits_cnn", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(params=[*SHIPPED, "a file"])
def presets(request, tmp_path: Path) -> dict[str, Preset]:
    own = tmp_path / "own.toml"
    own.write_text(OWN)
    return resolve(str(own) if request.param == "a file" else request.param, ["torchserve", "tfserving"])


def etc(tmp_path: Path, presets: dict[str, Preset]) -> Path:
    """What a container of either server has in /etc/tandem."""
    folder = tmp_path / "etc"
    (folder / "server").mkdir(parents=True)
    addresses = (DOCKER / "torchserve/addresses.properties").read_text()
    (folder / "addresses.properties").write_text(addresses)
    for target, preset in presets.items():
        for name, text in preset.settings_of(target).files(SPEC).items():
            (folder / "server" / name).write_text(text)
    return folder


@pytest.fixture
def java(tmp_path: Path) -> Path:
    """Prints its arguments, those in @files among them, and the configuration file."""
    path = tmp_path / "java"
    path.write_text(
        '#!/bin/sh\necho "threads ${OMP_NUM_THREADS-unset}"\n'
        'for word; do case $word in @*) cat "${word#@}";; *) echo "$word";; esac; done\n'
        'while [ "$1" != -f ]; do shift; done\necho ---; cat "$2"\n'
    )
    path.chmod(0o755)
    return path


def run_torchserve(folder, java, tmp_path, **environment):
    return run(
        DOCKER / "torchserve" / "entrypoint.sh",
        TANDEM_ETC=str(folder),
        TANDEM_JAVA=str(java),
        TMPDIR=str(tmp_path),
        **{"TANDEM_METRICS": "off", **environment},
    )


def properties(lines: list[str]) -> dict[str, str]:
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def local_config(tmp_path: Path, preset: Preset) -> tuple[dict[str, str], list[str]]:
    """Settings and options of the virtual machine that a TorchServe on this host gets."""
    work = tmp_path / "work"
    work.mkdir()
    plan = torchserve.plan(ServeRequest(SPEC, tmp_path, work, preset))
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


def test_torchserve_gets_the_same_settings_as_on_a_host(presets, java, tmp_path):
    done = run_torchserve(etc(tmp_path, presets), java, tmp_path)
    assert done.returncode == 0, done.stderr
    arguments, _, config = done.stdout.partition("---\n")
    settings, options = local_config(tmp_path, presets["torchserve"])
    got = properties(config.splitlines())
    assert {k: v for k, v in got.items() if k not in ADDRESSES} == {
        k: v for k, v in settings.items() if k not in ADDRESSES
    }
    assert len(settings) > len(ADDRESSES)
    assert [word for word in arguments.splitlines() if word.startswith("-X")] == options
    assert "digits_cnn=digits_cnn.mar" in arguments.splitlines()


def test_torchserve_gets_its_variables_and_what_to_log(presets, java, tmp_path):
    done = run_torchserve(etc(tmp_path, presets), java, tmp_path)
    given = presets["torchserve"].settings.given()
    assert f"threads {given.get('torch_threads', 'unset')}" in done.stdout.splitlines()
    option = "-Dlog4j.configurationFile=/etc/tandem/server/log4j2.xml"
    assert (option in done.stdout.splitlines()) == (given.get("request_log") is False)


def test_torchserve_listens_for_inference_only(presets, java, tmp_path):
    done = run_torchserve(etc(tmp_path, presets), java, tmp_path)
    got = properties(done.stdout.partition("---\n")[2].splitlines())
    assert got["inference_address"] == "http://0.0.0.0:8080"
    assert got["grpc_inference_address"] == "0.0.0.0"  # noqa: S104 - inside the container
    for name in ("management_address", "metrics_address", "grpc_management_address"):
        assert "127.0.0.1" in got[name]


def test_torchserve_metrics_are_opened_when_asked_for(presets, java, tmp_path):
    done = run_torchserve(etc(tmp_path, presets), java, tmp_path, TANDEM_METRICS="prometheus")
    lines = done.stdout.partition("---\n")[2].splitlines()
    assert [line for line in lines if line.startswith("metrics_")] == [
        "metrics_mode=prometheus",
        "metrics_address=http://0.0.0.0:8082",
    ]


def run_tfserving(folder, **environment):
    return run(
        DOCKER / "tfserving" / "entrypoint.sh",
        *("printf", "%s\\n"),
        TANDEM_ETC=str(folder),
        **{"TANDEM_METRICS": "off", **environment},
    )


def test_tfserving_gets_the_same_flags_as_on_a_host(presets, tmp_path):
    local = tfserving.plan(ServeRequest(SPEC, tmp_path, tmp_path, presets["tfserving"]))
    elsewhere = ("--host=", "--port=", "--rest_api_port=", "--model_", "--monitoring_config_file=")
    flags = [word for word in local.launch.argv if word.startswith("--") and not word.startswith(elsewhere)]
    here, there = (f"--batching_parameters_file={folder}/batching" for folder in (tmp_path, CONTAINER_FOLDER))
    flags = [there if word == here else word for word in flags]
    done = run_tfserving(etc(tmp_path, presets))
    assert done.stdout.splitlines() == [
        "--port=8500",
        "--rest_api_port=8501",
        "--model_name=digits_cnn",
        "--model_base_path=/models/digits_cnn",
        *flags,
    ]


def test_tfserving_metrics_are_on_when_asked_for(presets, tmp_path):
    folder = etc(tmp_path, presets)
    done = run_tfserving(folder, TANDEM_METRICS="prometheus")
    assert done.stdout.splitlines()[-1] == f"--monitoring_config_file={folder}/monitoring.config"


@pytest.mark.parametrize("key", ["torchserve", "tfserving"])
def test_an_unknown_setting_ends_the_start_and_names_the_allowed(tmp_path, key):
    folder = etc(tmp_path, resolve("default", ["torchserve", "tfserving"]))
    settings = {"TANDEM_ETC": str(folder), "TANDEM_METRICS": "yes", "TMPDIR": str(tmp_path)}
    done = run(DOCKER / key / "entrypoint.sh", "true", **settings)
    assert done.returncode == 2
    assert "yes" in done.stderr
    assert "prometheus" in done.stderr
