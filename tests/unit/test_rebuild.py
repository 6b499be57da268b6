"""What a damaged run causes is a wrong request; what we do wrong is not put on the run."""

import json

import pytest
from report_fixture import make_run
from report_mobile_fixture import make_mobile_run
from report_slo_fixture import make_slo_run

from pipelines.cli import main as cli
from pipelines.errors import MachineError, RequestError
from pipelines.run import rebuild
from pipelines.run.coherence import contradiction
from pipelines.run.rebuild import holding_together


@pytest.mark.parametrize(
    "error",
    [KeyError("x"), TypeError("x"), AttributeError("x"), IndexError(0), AssertionError(), OSError(5, "x")],
)
def test_a_fault_of_ours_stays_what_it_is(tmp_path, error):
    with pytest.raises(type(error)) as caught, holding_together(tmp_path):
        raise error
    assert caught.value is error


@pytest.mark.parametrize(
    "error", [ZeroDivisionError(), OverflowError(), RuntimeWarning("x"), ValueError("x"), MachineError("x")]
)
def test_what_values_of_a_damaged_run_lead_to_is_a_wrong_request(tmp_path, error):
    with pytest.raises(RequestError), holding_together(tmp_path):
        raise error


def test_a_fault_of_ours_in_a_report_leaves_a_trace(tmp_path, monkeypatch, capsys):
    def fault(*_):
        return {}["no such name"]

    monkeypatch.setattr(rebuild, "_refigure", fault)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "run.json").write_text(make_run().model_dump_json())
    assert cli._run(["report", str(tmp_path)]) == 3
    assert len(capsys.readouterr().err.splitlines()) == 1
    (trace,) = tmp_path.glob("tandem-error-*")
    assert "no such name" in trace.read_text()


MAKERS = {"compare": make_run, "slo": make_slo_run, "mobile": make_mobile_run}


@pytest.mark.parametrize("kind", MAKERS)
def test_a_run_as_it_was_measured_has_no_contradiction(kind):
    assert contradiction(MAKERS[kind]()) is None


def test_a_search_that_ended_before_its_first_server_has_no_contradiction():
    run = make_slo_run()
    waiting = {
        name: one.model_copy(update={"points": (), "blocks": ()}) for name, one in run.slo.targets.items()
    }
    early = {"targets": {}, "slo": run.slo.model_copy(update={"targets": waiting})}
    assert contradiction(run.model_copy(update=early)) is None
    assert contradiction(run.model_copy(update={"targets": {}, "slo": None})) is None


@pytest.mark.parametrize(
    ("kind", "place", "value", "told"),
    [
        ("compare", ("profile", "seed"), -1, "profile.seed"),
        ("compare", ("targets", "tfserving-control", "control_of"), "nobody", "control_of"),
        ("compare", ("targets", "torchserve", "rounds", 0, "load"), "open:0", "load"),
        ("slo", ("slo", "candidate"), "nobody", "slo.candidate"),
        ("slo", ("slo", "baseline"), "nobody", "slo.baseline"),
        ("slo", ("targets", "tfserving"), ..., "slo.targets"),
    ],
)
def test_a_contradiction_is_named_by_its_place(kind, place, value, told):
    run = MAKERS[kind]()
    said = parent = json.loads(run.model_dump_json())
    for key in place[:-1]:
        parent = parent[key]
    if value is ...:
        del parent[place[-1]]
    else:
        parent[place[-1]] = value
    assert told in contradiction(type(run).model_validate_json(json.dumps(said)))
