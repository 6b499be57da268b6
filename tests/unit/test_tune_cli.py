"""`tandem tune` typed wrongly: one line and exit code 2, before any work."""

import pytest
from report_slo_fixture import make_slo_run

from pipelines.cli.main import main
from pipelines.export import stage as exporting
from pipelines.report.json import render_json

GOOD = ("tune", "digits_cnn", "--sides", "torchserve", "--p99-ms", "20")


@pytest.fixture(autouse=True)
def nothing_is_done(unguarded, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(exporting, "run_tasks", lambda *_: pytest.fail("this is a wrong request, not work"))


def refused(capsys, *arguments: str) -> str:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("tune", "--p99-ms", "20"), "--sides torchserve"),
        (("tune", "--sides", "torchserve"), "--p99-ms 20"),
        ((*GOOD[:-1], "0"), "--p99-ms is 0"),
        ((*GOOD[:-1], "nan"), "--p99-ms is nan"),
        ((*GOOD[:-1], "1e308"), "--p99-ms is 1e+308"),
        ((*GOOD, "--round-s", "-1"), "round_s"),
        ((*GOOD, "--within", "soon"), "--within is 'soon'"),
        ((*GOOD, "--within", "2min"), "--within is 2min"),
        ((*GOOD, "--sides", "torchserv"), "did you mean torchserve"),
        ((*GOOD, "--sides", "tflite"), "unknown target 'tflite'"),
        ((*GOOD, "--sides", "torchserve,torchserve:grpc"), "torchserve is there twice"),
        ((*GOOD, "--sides", "a=tfserving+http://127.0.0.1:9/v1/models/m"), "a runs elsewhere"),
        ((*GOOD, "--set", "batchsize=2"), "did you mean batchSize"),
        ((*GOOD, "--write", "found.json"), "ends in .toml"),
        ((*GOOD, "--write", "nowhere/found.toml"), "its folder is not there"),
        ((*GOOD, "--preset", "tunde"), "did you mean tuned"),
        (("tune", "--resume", "nowhere"), "holds no run.json"),
        (("tune", "--resume", "nowhere", "--p99-ms", "5"), "leave out p99_limit_ms"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(arguments, said, capsys):
    assert said in refused(capsys, *arguments)


def test_a_presets_file_that_is_there_stays(capsys, tmp_path):
    file = tmp_path / "digits_cnn-tuned.toml"
    file.write_text("mine")
    assert "digits_cnn-tuned.toml exists already" in refused(capsys, *GOOD)
    assert file.read_text() == "mine"


def test_a_search_of_another_version_does_not_go_on(capsys, tmp_path):
    from test_report_tune import make_tune

    run = make_slo_run().model_copy(update={"tune": make_tune(), "kind": "tune", "status": "interrupted"})
    (tmp_path / "run.json").write_text(render_json(run))
    assert "begun by another version of Tandem" in refused(capsys, "tune", "--resume", str(tmp_path))


def test_a_search_that_is_complete_does_not_go_on(capsys, tmp_path):
    from test_report_tune import make_tune

    run = make_slo_run().model_copy(update={"tune": make_tune(), "kind": "tune", "status": "complete"})
    (tmp_path / "run.json").write_text(render_json(run))
    assert "that search is complete" in refused(capsys, "tune", "--resume", str(tmp_path))


def test_a_run_of_another_command_is_no_search(capsys, tmp_path):
    (tmp_path / "run.json").write_text(render_json(make_slo_run()))
    assert "that is a run of `tandem slo`" in refused(capsys, "tune", "--resume", str(tmp_path))
