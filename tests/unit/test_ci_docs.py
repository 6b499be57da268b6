"""The pipelines of docs/ci follow their systems' published schemas, and call commands that exist."""

import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml

from pipelines.cli.main import tandem
from pipelines.gate.limits import asked_limits
from pipelines.outputs.asked import asked_outputs

FOLDER = Path(__file__).parents[2] / "docs" / "ci"
SCHEMAS = {"github": "vendor.github-workflows", "gitlab": "vendor.gitlab-ci"}
PIPELINES = sorted(FOLDER.glob("*.yml"))


def follows(path: Path, schema: str) -> bool:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(path)]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


@pytest.mark.parametrize("path", PIPELINES, ids=lambda path: path.name)
def test_a_pipeline_follows_its_published_schema(path):
    assert follows(path, SCHEMAS[path.name.partition("-")[0]])


def test_a_pipeline_with_a_misspelt_key_does_not(tmp_path):
    broken = tmp_path / "github.yml"
    broken.write_text((FOLDER / "github-gate.yml").read_text().replace("runs-on", "runs_on"))
    assert not follows(broken, SCHEMAS["github"])


def strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from strings(one)
    elif isinstance(value, list):
        for one in value:
            yield from strings(one)


def commands(path: Path) -> list[list[str]]:
    lines = [line for text in strings(yaml.safe_load(path.read_text())) for line in text.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith(".venv/bin/tandem ")]


@pytest.mark.parametrize("path", PIPELINES, ids=lambda path: path.name)
def test_its_commands_exist_with_their_options(path):
    found = commands(path)
    assert found
    for name, *arguments in found:
        context = tandem.commands[name].make_context(name, arguments)
        asked_outputs(context.params.get("outputs") or ())
        if name == "gate":
            limits = {key: context.params[key.replace("-", "_")] for key in ("p99", "size", "accuracy")}
            assert len(asked_limits(limits)) == 3


def test_a_command_with_an_unknown_option_would_be_found():
    with pytest.raises(click.NoSuchOption):
        tandem.commands["gate"].make_context("gate", ["runs/latest", "--max-p99-regresion", "5%"])
