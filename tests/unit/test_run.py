"""However a run ends, its record is finished and can be read."""

from types import SimpleNamespace

import pytest
from report_mobile_fixture import make_mobile_run

from loadtests.errors import LoadError, PayloadError, PlanError, RecorderError
from models.spec import ModelError
from pipelines.errors import GateError, MachineError, RequestError
from pipelines.record.run import RunRecord
from pipelines.run import run as run_module


@pytest.fixture
def run(tmp_path):
    """A run without anything measured, in a folder of its own."""
    folder = tmp_path / "runs" / "20261120-142233-digits_cnn"
    folder.mkdir(parents=True)

    def record(status, reason, ended=None):
        return make_mobile_run(status=status, status_reason=reason, run_id=folder.name)

    return SimpleNamespace(folder=folder, session=SimpleNamespace(rounds_count=3), record=record)


def kept(run):
    return RunRecord.model_validate_json((run.folder / "run.json").read_text())


def ending(error):
    def measure(_):
        raise error

    return measure


@pytest.mark.slow
def test_a_whole_run_is_complete(run):
    assert run_module.conclude(run, lambda _: None).status == "complete"
    assert (run.folder / "report.html").is_file()
    assert kept(run).status == "complete"


def test_an_interrupt_is_no_error(run):
    assert run_module.conclude(run, ending(KeyboardInterrupt())).status == "interrupted"
    assert kept(run).status_reason == "interrupted after 3 rounds"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("error", "becomes"),
    [
        (LoadError("a load"), RequestError),
        (PlanError("a plan"), RequestError),
        (PayloadError("a payload"), RequestError),
        (RecorderError("the disk is full"), MachineError),
        (ModelError("a model"), RequestError),
        (GateError("a gate"), GateError),
        (MachineError("a server died"), MachineError),
    ],
)
def test_what_a_person_can_act_on_says_where_the_run_is_kept(run, error, becomes):
    with pytest.raises(becomes, match=f"^{error}; 3 measured rounds are kept in {run.folder}$") as caught:
        run_module.conclude(run, ending(error))
    assert type(caught.value) is becomes
    assert (kept(run).status, kept(run).status_reason) == ("failed", str(error))
    assert (run.folder / "report.html").is_file()
    assert (run.folder.parent / "latest").resolve() == run.folder


@pytest.mark.slow
@pytest.mark.parametrize(
    "error",
    [ValueError("odd"), MemoryError(), SystemExit(4), OSError("refused"), AssertionError(), GeneratorExit()],
)
def test_what_nobody_foresaw_is_raised_again_and_the_record_is_finished_before(run, error):
    with pytest.raises(type(error)) as caught:
        run_module.conclude(run, ending(error))
    assert caught.value is error
    assert kept(run).status == "failed"
    assert kept(run).status_reason.startswith(type(error).__name__)
    assert (run.folder / "report.html").is_file()


@pytest.mark.parametrize(
    "second", [MemoryError(), RecorderError("gone"), MachineError("full"), OSError("no")]
)
@pytest.mark.parametrize("first", [MachineError("a server died"), RuntimeError("odd")])
def test_a_report_that_fails_too_hides_neither_the_failure_nor_the_record(run, monkeypatch, first, second):
    monkeypatch.setattr(run_module, "write_report", lambda *_: ending(second)(None))
    with pytest.raises(type(first), match=str(first)):
        run_module.conclude(run, ending(first))
    assert kept(run).status == "failed"
    assert str(first) in kept(run).status_reason


def test_a_run_whose_figures_cannot_be_computed_is_not_called_unfinished(run, monkeypatch):
    def summarise(record, folder):
        raise MachineError("a round cannot be summarised")

    monkeypatch.setattr(run_module, "summarise", summarise)
    with pytest.raises(MachineError, match=r"cannot be summarised.*tandem report"):
        run_module.conclude(run, lambda _: None)
    assert kept(run).status == "failed"
