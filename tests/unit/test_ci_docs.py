"""The pipelines of docs/ci follow their systems' published schemas, and call commands that exist."""

import os
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


@pytest.mark.slow
@pytest.mark.parametrize("path", PIPELINES, ids=lambda path: path.name)
def test_a_pipeline_follows_its_published_schema(path):
    assert follows(path, SCHEMAS[path.name.partition("-")[0]])


@pytest.mark.slow
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


def steps(path: Path) -> list[dict]:
    jobs = yaml.safe_load(path.read_text())["jobs"].values()
    return [step for job in jobs for step in job["steps"]]


def test_every_file_that_is_written_for_github_is_read_by_something_that_shows_it():
    path = FOLDER / "github-gate.yml"
    written = {
        text.partition("=")[2]
        for name, *arguments in commands(path)
        for text in tandem.commands[name].make_context(name, arguments).params.get("outputs") or ()
    }
    assert {Path(name).suffix for name in written} == {".xml", ".md", ".json"}
    readers = [
        " ".join(strings(step))
        for step in steps(path)
        if "upload-artifact" not in step.get("uses", "") and "tandem" not in step.get("run", "")
    ]
    assert [name for name in written if not any(name in text for text in readers)] == []


SHOWN = [step["run"] for step in steps(FOLDER / "github-gate.yml") if "Show what" in step.get("name", "")]


@pytest.mark.parametrize("script", SHOWN)
@pytest.mark.parametrize("there", [(), ("compare.md",), ("compare.md", "gate.md")])
def test_the_summary_has_what_is_there_and_is_no_failure_of_its_own(tmp_path, script, there):
    for name in there:
        (tmp_path / name).write_text(f"what {name} says\n")
    summary = tmp_path / "summary"
    environment = {"PATH": os.environ["PATH"], "GITHUB_STEP_SUMMARY": str(summary)}
    command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True)
    text = summary.read_text() if summary.exists() else ""
    assert all(f"what {name} says" in text for name in there if name in script)


def test_a_command_with_an_unknown_option_would_be_found():
    with pytest.raises(click.NoSuchOption):
        tandem.commands["gate"].make_context("gate", ["runs/latest", "--max-p99-regresion", "5%"])
