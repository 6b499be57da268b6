"""`tandem claims`: verdicts by recorded runs, `not measured` without one, and a page that says the same."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from report_fixture import make_run
from report_mobile_fixture import make_mobile_run
from training_fixture import all_trainings, make_training, make_training_run

from pipelines.claims import stage
from pipelines.claims.known import CLAIMS, conditions
from pipelines.claims.page import ALONE, FIRST_OPEN, facts, machine_of, render, told, verdict_line
from pipelines.claims.stage import Judged, judge, measure_missing, without_runs
from pipelines.cli.main import main, tandem
from pipelines.console import format as fmt
from pipelines.errors import RequestError
from pipelines.record.comparison import ComparisonRecord
from pipelines.record.run import RunRecord
from pipelines.report.json import write_run

PAGE = Path(__file__).parents[2] / "docs" / "claims.md"
FOLDER = PAGE.with_suffix("")
BY_KEY = {one.key: one for one in conditions()}
SERVES, COMPACT, CNN, RNN, MEMORY, SAME, LIGHTER, ONNX, PLAIN = range(len(CLAIMS))


def put(folder: Path, key: str, run: RunRecord) -> RunRecord:
    """Keep a run as that of a condition, as if its command had measured it."""
    measured = run.model_copy(update={"command": ("tandem", *BY_KEY[key].command, "--runs", "runs/there")})
    write_run(measured, folder / key)
    return measured


def serving(verdict: Any, ratio: float, load: str = "closed:8", metric: str = "p99") -> ComparisonRecord:
    """A verdict on TensorFlow's server against TorchServe's."""
    one = make_run().comparisons[0]
    return one.model_copy(
        update={
            **{"candidate": "tfserving", "baseline": "torchserve", "load": load, "metric": metric},
            **{"ratio": ratio, "interval": (ratio * 0.95, ratio * 1.05), "verdict": verdict},
        }
    )


def served(*verdicts: ComparisonRecord) -> RunRecord:
    return make_run(comparisons=verdicts)


def quiet(title: str, text: str) -> None:
    """Nobody looks."""


def states(judged: Judged) -> list[str]:
    return [answer.state for one in judged.tested for answer in one.answers]


def test_without_a_run_nothing_is_said(tmp_path: Path) -> None:
    found = judge(tmp_path / "nothing")
    assert {one.state for one in found} == {"not measured"}
    page = render(found)
    assert page.count("not measured") > len(CLAIMS) * 2
    assert not [
        line for line in page.splitlines() if line.startswith("|") and re.search(r"\d\.\d|points", line)
    ]
    assert all(f"tandem {' '.join(one.command)}" in page for one in conditions())


def test_the_committed_page_is_that_of_the_committed_runs() -> None:
    assert PAGE.read_text(encoding="utf-8") == render(judge(FOLDER))


@pytest.mark.parametrize(
    ("verdicts", "state"),
    [
        (["better", "better"], "holds"),
        (["better", "inconclusive"], "holds"),
        (["worse", None], "does not hold"),
        (["equivalent", "equivalent"], "no difference"),
        (["better", "worse"], "it depends"),
        (["better", "equivalent"], "it depends"),
        (["inconclusive", None], "undecided"),
    ],
)
def test_a_claim_is_what_its_verdicts_say_alike(verdicts: list[Any], state: str, tmp_path: Path) -> None:
    loads = ("closed:1", "closed:8")
    own = [serving(one, 0.5, load) for one, load in zip(verdicts, loads, strict=True)]
    put(tmp_path, "serve-digits", served(*own))
    assert judge(tmp_path)[SERVES].state == state


def test_where_the_answer_turns_is_named(tmp_path: Path) -> None:
    put(tmp_path, "serve-digits", served(serving("better", 0.3)))
    put(
        tmp_path, "serve-digits-grpc", served(serving("worse", 1.4), serving("inconclusive", 1.0, "closed:1"))
    )
    found = judge(tmp_path)[SERVES]
    assert found.main is not None
    assert (found.main.state, found.main.finding.value) == ("holds", 0.3)
    assert [(one.key, answer.state, answer.finding.what) for one, answer in found.turns] == [
        ("serve-digits-grpc", "does not hold", "p99 under closed:8")
    ]
    assert "the same over gRPC, p99 under closed:8: does not hold" in render([found])


def test_what_answered_in_place_of_a_product_is_named_everywhere(tmp_path: Path) -> None:
    put(tmp_path, "serve-digits", served(serving("better", 0.3)))
    found = judge(tmp_path)[SERVES]
    page = render([found])
    assert "tfserving (tandem embedded server) against torchserve" in page
    assert "); tfserving answered by tandem embedded server |" in page
    assert verdict_line(found) == (
        "TensorFlow serves faster: holds (tfserving answered by tandem embedded server)"
    )
    (answer,) = facts([found])[0]["conditions"][0]["answers"]
    assert answer["stand_ins"] == {"tfserving": "tandem embedded server"}


def test_a_claim_whose_first_condition_is_open_says_so(tmp_path: Path) -> None:
    put(tmp_path, "serve-digits-grpc", served(serving("better", 0.3)))
    found = judge(tmp_path)[SERVES]
    assert (found.state, found.main) == ("holds", None)
    assert FIRST_OPEN in render([found])
    assert ALONE not in render([found])
    nothing = judge(tmp_path / "nothing")[SERVES]
    assert ALONE in render([nothing])
    assert FIRST_OPEN not in render([nothing])


def test_every_figure_of_the_page_is_the_runs(tmp_path: Path) -> None:
    run = put(tmp_path, "serve-digits", served(serving("better", 0.31234)))
    page = render(judge(tmp_path))
    one = run.comparisons[0]
    assert one.interval is not None
    assert f"{fmt.ratio(0.31234)} ({fmt.span(one.interval, fmt.ratio)})" in page
    assert fmt.one_line(run.environment.cpu_model) in machine_of(run)
    assert f"1, {run.started_at_utc[:10]}" in page


def test_trainings_answer_three_claims(tmp_path: Path) -> None:
    put(tmp_path, "train-rnn", make_training_run(training=make_training(trainings=all_trainings(factor=0.5))))
    found = judge(tmp_path)
    assert states(found[RNN]) == ["holds"]
    assert states(found[MEMORY]) == ["does not hold"]
    assert states(found[SAME]) == ["holds"]
    assert found[CNN].state == "not measured"
    (answer,) = next(one for one in found[SAME].tested if one.run).answers
    assert (answer.finding.kind, told(answer.finding).startswith("0 points")) == ("difference", True)


def test_a_file_for_devices_is_counted_with_its_runtime(tmp_path: Path) -> None:
    run = put(tmp_path, "mobile-digits", make_mobile_run())
    smallest, carried = (answer.finding for answer in judge(tmp_path)[LIGHTER].tested[0].answers)
    assert run.mobile is not None
    files = [
        min(
            (one for one in run.mobile.artifacts if one.target == target and one.passed),
            key=lambda one: one.size_bytes,
        )
        for target in ("tflite", "executorch")
    ]
    assert smallest.value == files[0].size_bytes / files[1].size_bytes
    sizes = [one.size_bytes + run.mobile.runtimes[one.runtime_library].size_bytes for one in files]
    assert carried.value == sizes[0] / sizes[1]
    assert (smallest.word, smallest.exact) == (
        "better" if files[0].size_bytes < files[1].size_bytes else "worse",
        True,
    )
    assert told(smallest).endswith("counted")


def test_the_archive_is_held_against_the_saved_model(tmp_path: Path) -> None:
    formats = (
        ("torchserve", "torchscript"),
        ("torchserve", "torchserve-archive"),
        ("tfserving", "saved-model"),
    )
    plain = make_run().artifacts[0]
    artifacts = tuple(
        plain.model_copy(update={"target": target, "format": name, "size_bytes": 90_000 + 1_000 * number})
        for number, (target, name) in enumerate(formats)
    )
    put(tmp_path, "serve-digits", make_run(artifacts=artifacts))
    (answer,) = judge(tmp_path)[COMPACT].tested[1].answers
    assert (answer.finding.value, answer.finding.word, answer.state) == (
        91 / 92,
        "equivalent",
        "no difference",
    )


def test_a_run_that_did_not_end_counts_for_nothing(tmp_path: Path) -> None:
    put(tmp_path, "serve-digits", served(serving("better", 0.3)).model_copy(update={"status": "interrupted"}))
    found = judge(tmp_path)[SERVES]
    assert (found.state, found.tested[0].why) == ("not measured", "its run was interrupted")
    assert "not measured (its run was interrupted)" in render([found])


@pytest.mark.parametrize(
    ("prepare", "arguments", "words"),
    [
        ("other", [], ("serve-digits", "compare mobilenet_v2", "remove the folder")),
        ("broken", [], ("run.json", "serve-digits")),
        ("", ["--again", "onnx"], ("--again", "--measure")),
        ("", ["--measure", "--again", "oonx"], ("oonx", "serve-digits")),
        ("file", [], ("--runs",)),
    ],
)
@pytest.mark.usefixtures("unguarded")
def test_a_wrong_request_is_one_line(
    prepare: str,
    arguments: list[str],
    words: tuple[str, ...],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "runs"
    if prepare == "file":
        folder.write_text("")
    elif prepare:
        write_run(make_run(command=("tandem", "compare", "mobilenet_v2")), folder / "serve-digits")
    if prepare == "broken":
        (folder / "serve-digits" / "run.json").write_text("{")
    with pytest.raises(SystemExit) as ended:
        main(["claims", "--runs", str(folder), "--page", str(tmp_path / "page.md"), *arguments])
    said = capsys.readouterr().err
    assert (ended.value.code, said.count("\n")) == (2, 1)
    assert all(word in said for word in words), said
    assert not (tmp_path / "page.md").exists()


def test_programs_get_every_digit(tmp_path: Path) -> None:
    put(tmp_path, "serve-digits", served(serving("better", 1 / 3)))
    ended = CliRunner().invoke(tandem, ["claims", "--runs", str(tmp_path), "--json"])
    first = json.loads(ended.stdout)[0]
    assert first["conditions"][0]["answers"][0]["value"] == 1 / 3
    assert json.loads(ended.stdout) == json.loads(json.dumps(facts(judge(tmp_path))))


def test_only_what_is_missing_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    asked: list[tuple[str, ...]] = []

    def command(words: tuple[str, ...]) -> int:
        asked.append(tuple(words))
        runs = Path(words[-1])
        if words[0] == "mobile":
            return 3
        if words[0] != "export":
            made(make_run(command=("tandem", *words)), runs)
        return 1 if "docker" in words else 0

    monkeypatch.setattr(stage, "_command", command)
    folder = tmp_path / "kept"
    put(folder, "serve-digits", served(serving("better", 0.3)))
    failed = measure_missing(folder, quiet)
    assert failed == ("mobile-digits", "mobile-mobilenet")
    measured = [without_runs(words) for words in asked if words[0] != "export"]
    assert measured == [one.command for one in conditions() if one.key != "serve-digits"]
    assert [words[0] for words in asked].count("export") == 2
    assert {path.name for path in folder.iterdir()} == set(BY_KEY) - set(failed)
    asked.clear()
    assert measure_missing(folder, quiet) == failed
    assert len(asked) == 2
    stage.remove(folder, ["onnx"])
    assert not (folder / "onnx").exists()
    with pytest.raises(RequestError):
        stage.remove(folder, ["onnx", "nothing"])


def made(run: RunRecord, runs: Path) -> None:
    """Write a run as a command does: in a folder of its own, which `latest` points at."""
    folder = runs / f"run-{sum(1 for _ in runs.glob('run-*'))}"
    write_run(run, folder)
    (runs / "latest").unlink(missing_ok=True)
    (runs / "latest").symlink_to(folder.name)


@pytest.mark.parametrize("fails", ["compare", "export"])
def test_the_run_of_before_is_not_taken_for_one_that_was_not_made(
    fails: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command that fails its checks before it has a run leaves `latest` where it was."""
    monkeypatch.chdir(tmp_path)
    key = next(one.key for one in conditions() if one.before and one.command[0] == "compare")
    for one in conditions():
        if one.key != key:
            write_run(make_run(command=("tandem", *one.command)), tmp_path / "kept" / one.key)
    old = Path("runs") / "claims" / key
    made(make_run(command=("tandem", *BY_KEY[key].command)), old)
    asked: list[str] = []

    def command(words: tuple[str, ...]) -> int:
        asked.append(words[0])
        if words[0] == "compare" and fails != "compare":
            made(make_run(command=("tandem", *words)), old)
        return int(words[0] == fails)

    monkeypatch.setattr(stage, "_command", command)
    assert measure_missing(tmp_path / "kept", quiet) == (key,)
    assert not (tmp_path / "kept" / key / "run.json").exists()
    assert asked[-1] == fails


def test_an_interruption_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def command(words: tuple[str, ...]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(stage, "_command", command)
    said: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        measure_missing(tmp_path / "kept", lambda _, text: said.append(text))
    assert str(tmp_path / "kept") in said[-1]


@pytest.mark.slow
def test_a_command_is_really_ours_and_its_code_comes_back() -> None:
    assert stage._command(["claims", "--again", "onnx"]) == 2


@pytest.mark.parametrize("one", conditions(), ids=lambda one: one.key)
def test_every_command_can_be_parsed(one: Any) -> None:
    for words in (*one.before, one.command):
        named = tandem.commands[words[0]]  # type: ignore[attr-defined]
        named.make_context(words[0], list(words[1:]))
