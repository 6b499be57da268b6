"""`--output` and `--tensorboard` of whole commands: what they write when all went well, and when not."""

import json
import socket
import xml.etree.ElementTree as ET
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from report_fixture import make_run
from report_mobile_fixture import make_mobile_run
from report_slo_fixture import make_slo_run
from test_outputs import verified

from pipelines.cli.main import tandem
from pipelines.errors import GateError, MachineError, RequestError
from pipelines.outputs.asked import FORMATS
from pipelines.outputs.of_run import facts_of_run
from pipelines.run.conclusion import conclude_whole
from pipelines.run.failing import Kept, carry
from pipelines.run.run import conclude

MEASURED = {
    "compare": ("pipelines.compare.stage.compare", ("--runner", "local"), make_run),
    "slo": ("pipelines.compare.slo.search_slo", ("--runner", "local", "--p99-ms", "20"), make_slo_run),
    "mobile": ("pipelines.mobile.stage.measure_mobile", (), make_mobile_run),
}


def invoke(tmp_path: Path, *arguments: str):
    """The finished command, asked for every format, and its files by format."""
    asked = [f"--output={name}={tmp_path}/out/{name}" for name in FORMATS]
    done = CliRunner().invoke(tandem, [*arguments, *asked], standalone_mode=False)
    files = {name: tmp_path / "out" / name for name in FORMATS}
    return done, {name: path.read_text() for name, path in files.items() if path.exists()}


def failures(junit: str) -> list[str]:
    return [one.get("message", "") for one in ET.fromstring(junit).iter("failure")]  # noqa: S314 - our own


@pytest.mark.parametrize("name", MEASURED)
def test_a_measured_run_is_written_in_every_format(monkeypatch, tmp_path, name):
    place, options, make = MEASURED[name]
    run = make()
    monkeypatch.setattr(place, lambda *_: (run, tmp_path))
    done, files = invoke(tmp_path, name, "digits_cnn", *options)
    assert done.exception is None or isinstance(done.exception, GateError)  # of artifacts that do not fit
    assert files.keys() == FORMATS.keys()
    assert json.loads(files["bencher"])
    assert f'name="tandem {name} digits_cnn"' in files["junit"]


def test_a_verification_is_written_although_an_artifact_is_another_model(monkeypatch, tmp_path):
    monkeypatch.setattr("pipelines.verify.stage.verify", lambda *_: verified())
    done, files = invoke(tmp_path, "verify", "digits_cnn")
    assert isinstance(done.exception, GateError)
    assert len(failures(files["junit"])) == 2


@pytest.fixture
def nobody():
    """A port where nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.mark.parametrize(("name", "options"), [("compare", ()), ("slo", ("--p99-ms", "20"))])
def test_an_endpoint_where_nobody_answers_is_a_failure_in_every_file(nobody, tmp_path, name, options):
    side = f"today=tfserving+http://127.0.0.1:{nobody}/v1/models/m"
    asked = (*options, "--sides", side, "--runs", str(tmp_path / "runs"))
    done, files = invoke(tmp_path, name, "digits_cnn", *asked)
    assert isinstance(done.exception, MachineError)
    (message,) = failures(files["junit"])
    assert str(nobody) in message
    assert "**Failed**" in files["markdown"]
    assert "tandem_passed" in files["openmetrics"]
    assert json.loads(files["benchmark-smaller"]) == json.loads(files["benchmark-bigger"]) == []
    assert not (tmp_path / "runs").exists()


def broken(folder: Path):
    """A comparison whose server dies after the first round."""

    def compare(*_):
        def record(status, reason, ended=None):
            nothing = {"targets": {}, "controls": (), "comparisons": (), "profile": None}
            return make_run(status=status, status_reason=reason, run_id=folder.name, **nothing)

        def measure(_):
            raise MachineError("the server of torchserve died")

        folder.mkdir(parents=True)
        session = SimpleNamespace(rounds_count=1)
        return conclude(SimpleNamespace(folder=folder, session=session, record=record), measure)

    return compare


def test_a_run_that_failed_on_its_way_is_written_as_far_as_it_came(monkeypatch, tmp_path):
    folder = tmp_path / "runs" / "20261120-142233-digits_cnn"
    monkeypatch.setattr(MEASURED["compare"][0], broken(folder))
    board = tmp_path / "board"
    done, files = invoke(tmp_path, "compare", "digits_cnn", "--runner", "local", "--tensorboard", str(board))
    assert isinstance(done.exception, MachineError)
    assert f"are kept in {folder}" in str(done.exception)
    (message,) = failures(files["junit"])
    assert message == "run.complete: the server of torchserve died"
    assert 'timestamp="2026-11-20T14:22:33"' in files["junit"], "of the run, and not of now"
    assert (board / folder.name).is_dir()


def test_devices_that_failed_on_their_way_are_written_too(monkeypatch, tmp_path):
    def measure_mobile(*_):
        def work():
            raise MachineError("the disk is full")

        def finish(status, reason):
            return make_mobile_run(status=status, status_reason=reason)

        return conclude_whole(work, finish, tmp_path, lambda: "1 of 4"), tmp_path

    monkeypatch.setattr(MEASURED["mobile"][0], measure_mobile)
    done, files = invoke(tmp_path, "mobile", "digits_cnn")
    assert isinstance(done.exception, MachineError)
    assert "run.complete: the disk is full" in failures(files["junit"])
    assert len(failures(files["junit"])) > 1, "what was found before is in it as well"


def test_a_gate_that_cannot_be_asked_fails_in_its_files(tmp_path):
    done, files = invoke(tmp_path, "gate", str(tmp_path / "nowhere"))
    assert isinstance(done.exception, RequestError)
    (message,) = failures(files["junit"])
    assert "holds no run.json" in message


@pytest.mark.parametrize("place", ["run", "run/run.json"])
def test_a_gate_that_cannot_decide_names_the_model_of_its_run(tmp_path, place):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text(make_run(status="interrupted").model_dump_json())
    done, files = invoke(tmp_path, "gate", str(tmp_path / place))
    assert isinstance(done.exception, RequestError)
    assert ET.fromstring(files["junit"])[0].get("name") == "tandem gate digits_cnn"  # noqa: S314 - our own


def test_a_gate_whose_server_dies_writes_what_it_had_measured(monkeypatch, tmp_path):
    folder = tmp_path / "runs" / "20261120-142233-digits_cnn"
    folder.mkdir(parents=True)

    def measure(*_):
        error = MachineError("the server of new died")
        carry(error, Kept(make_run(status="failed"), folder))
        raise error

    monkeypatch.setattr("pipelines.gate.interleaved.measure_and_gate", measure)
    done, files = invoke(tmp_path, "gate", "--sides", "base=tfserving,new=tfserving")
    assert isinstance(done.exception, MachineError)
    assert failures(files["junit"]) == ["run.complete: the server of new died"]
    assert str(folder) in files["markdown"]
    assert json.loads(files["bencher"]) == json.loads(FORMATS["bencher"](facts_of_run(make_run())))


def test_an_output_that_cannot_be_written_does_not_hide_the_failure(nobody, tmp_path):
    (tmp_path / "file").write_text("")
    side = f"today=tfserving+http://127.0.0.1:{nobody}/v1/models/m"
    asked = ["compare", "digits_cnn", "--sides", side, "--output", f"junit={tmp_path}/file/x.xml"]
    done = CliRunner().invoke(tandem, asked, standalone_mode=False)
    assert isinstance(done.exception, MachineError)
    assert str(nobody) in str(done.exception)


def test_an_interrupted_command_is_a_failure_that_says_so(monkeypatch, tmp_path):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(MEASURED["compare"][0], interrupted)
    _, files = invoke(tmp_path, "compare", "digits_cnn", "--runner", "local")
    assert failures(files["junit"]) == ["run.complete: interrupted"]
    started = ET.fromstring(files["junit"])[0].get("timestamp")  # noqa: S314 - our own
    assert started is not None
    assert abs(datetime.now(UTC) - datetime.fromisoformat(f"{started}+00:00")).total_seconds() < 60


@pytest.mark.parametrize(
    ("name", "place", "options"),
    [
        ("verify", "pipelines.verify.stage.verify", ()),
        ("train", "pipelines.train.comparison.train_compared", ("--framework", "torch,keras")),
        (
            "tune",
            "pipelines.tune.stage.tune",
            ("--sides", "tfserving", "--p99-ms", "20", "--runner", "local"),
        ),
    ],
)
def test_what_fails_before_it_has_a_result_is_a_failure_in_every_file(
    monkeypatch, tmp_path, name, place, options
):
    def fail(*_):
        raise MachineError("the disk is full")

    monkeypatch.setattr(place, fail)
    done, files = invoke(tmp_path, name, "digits_cnn", *options)
    assert isinstance(done.exception, MachineError)
    assert failures(files["junit"]) == ["run.complete: the disk is full"]
    assert files.keys() == FORMATS.keys()
