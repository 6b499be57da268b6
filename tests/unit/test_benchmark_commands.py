"""Benchmarks that measure by running `tandem`: what they type is what the command line takes.

The commands are parsed by the real command line and their sides by the real settings; none is carried out.
"""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipelines.cli.main import tandem
from pipelines.config.asked import run_settings

ROOT = Path(__file__).resolve().parents[2]
RECORDED = ROOT / "tests" / "unit" / "recorded" / "version_1"
TANDEM = [sys.executable, "-m", "pipelines.cli"]
MEASURES = ("compare", "slo")


class Typed:
    """Takes commands as `subprocess` does, and leaves the recorded run behind those that measure."""

    def __init__(self, folder: Path, code: int = 0, *, engine: bool = False):
        self.folder, self.code, self.engine, self.commands, self.ended = folder, code, engine, [], 0

    def _parse(self, command):
        assert command[:3] == TANDEM
        assert importlib.util.find_spec("pipelines.cli.__main__")
        context = tandem.make_context("tandem", list(command[3:]), resilient_parsing=True)
        name, found, rest = tandem.resolve_command(context, list(command[3:]))
        parsed = found.make_context(name, rest)
        self.commands.append((name, parsed.params))
        return name, parsed.params

    def run(self, command, *, check, capture_output=False):
        assert not check
        if command == ["docker", "version"]:
            assert capture_output
            return SimpleNamespace(returncode=0 if self.engine else 1)
        name, options = self._parse(command)
        assert name in MEASURES
        given = {key: options[key] for key in ("profile", "sides", "model", "runner") if options.get(key)}
        run_settings(**given)  # the sides, their presets and their addresses
        if not self.code and not (self.folder / "runs" / "latest").exists():
            (self.folder / "runs").mkdir()
            (self.folder / "runs" / "latest").symlink_to(RECORDED)
        return SimpleNamespace(returncode=self.code)

    def serve(self, command, *, stdout, text):
        assert (stdout, text) == (subprocess.PIPE, True)
        name, options = self._parse(command)
        assert name == "serve"
        target = options["target"]
        port, paths = 8000 + len(self.commands), {"tfserving": "/v1/models/m:predict", "python": "/predict"}
        line = json.dumps({"predict_url": f"http://127.0.0.1:{port}{paths[target]}"}) + "\n"
        return SimpleNamespace(
            stdout=SimpleNamespace(readline=lambda: line), terminate=self._end, wait=lambda: None
        )

    def _end(self):
        self.ended += 1

    @property
    def measured(self):
        return [(name, options) for name, options in self.commands if name in MEASURES]


@pytest.fixture
def bench(monkeypatch, tmp_path):
    """Run the `main` of a benchmark with these arguments; what it typed."""

    def run(name, *arguments, code=0, engine=False):
        typed = Typed(tmp_path, code, engine=engine)
        monkeypatch.setattr(sys, "path", list(sys.path))
        monkeypatch.chdir(tmp_path)
        spec = importlib.util.spec_from_file_location(f"bench_{name}", ROOT / "benchmarks" / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        stub = SimpleNamespace(run=typed.run, Popen=typed.serve, PIPE=subprocess.PIPE)
        monkeypatch.setattr(module, "subprocess", stub)
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        try:
            module.main()
        except SystemExit as ended:
            assert (ended.code or 0) == code
        return typed

    return run


def test_servers_compares_and_searches_every_model(bench, capsys):
    typed = bench("servers", "digits_cnn=20", "mobilenet_v2=200", "--profile", "smoke", "--round-s", "2")
    assert [(name, options["model"]) for name, options in typed.measured] == [
        ("compare", "digits_cnn"),
        ("slo", "digits_cnn"),
        ("compare", "mobilenet_v2"),
        ("slo", "mobilenet_v2"),
    ]
    assert {options["profile"] for _, options in typed.measured} == {"smoke"}
    assert {options["sides"] for _, options in typed.measured} == {
        "torchserve,triton,mlserver,python,tfserving"
    }
    assert [options["p99_limit_ms"] for name, options in typed.measured if name == "slo"] == [20.0, 200.0]
    assert [options["round_s"] for name, options in typed.measured if name == "compare"] == [2.0, 2.0]
    assert "| torchserve: torchserve 0.12.0 |" in capsys.readouterr().out


def test_servers_compares_containers_for_their_images_where_an_engine_answers(bench):
    typed = bench("servers", "digits_cnn", "--profile", "quick", engine=True)
    assert [(name, options["profile"], options["runner"]) for name, options in typed.measured] == [
        ("compare", "smoke", "docker"),
        ("compare", "quick", "local"),
        ("slo", "quick", "local"),
    ]


@pytest.mark.parametrize(
    ("target", "options", "protocol"),
    [("torchserve", (), ""), ("tfserving", ("--protocol", "grpc", "--load", "closed:8"), ":grpc")],
)
def test_preset_lines_compares_the_preset_with_itself_without_each_line(
    bench, capsys, target, options, protocol
):
    (typed,) = bench("preset_lines", target, *options).measured
    name, asked = typed
    first, *others = asked["sides"].split(",")
    assert (name, asked["model"], first) == ("compare", "digits_cnn", f"tuned={target}:tuned{protocol}")
    assert len(others) >= 2
    assert all(side.endswith(f".toml{protocol}") for side in others)
    assert (asked["primary"], asked["mobile"]) == ("throughput", False)
    assert asked["loads"] == ("closed:8" if protocol else "closed:32")
    assert capsys.readouterr().out.startswith("| line |")


def test_by_address_compares_the_started_servers_and_then_those_that_stand(bench, capsys):
    typed = bench("by_address", "--sides", "tfserving,python", "--profile", "smoke")
    assert [name for name, _ in typed.commands] == ["compare", "serve", "serve", "compare"]
    started, by_address = (options for _, options in typed.measured)
    assert started["sides"] == "tfserving,python"
    assert by_address["sides"] == (
        "tfserving=tfserving+http://127.0.0.1:8002/v1/models/m,python=plain+http://127.0.0.1:8003/predict"
    )
    assert typed.ended == 2, "servers are ended"
    for options in (started, by_address):
        assert (options["profile"], options["primary"], options["mobile"]) == ("smoke", "throughput", False)
    assert "0 contradict one another" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("servers", ("digits_cnn",)),
        ("preset_lines", ("torchserve",)),
        ("by_address", ("--sides", "tfserving")),
    ],
)
def test_a_command_that_fails_ends_a_benchmark_with_its_code(bench, name, arguments):
    assert len(bench(name, *arguments, code=3).commands) == 1
