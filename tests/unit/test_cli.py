import errno
import json
import signal
import subprocess
import sys

import click
import pytest

from loadtests.errors import PayloadError, RecorderError
from models.spec import ModelError
from pipelines import doctor
from pipelines.cli import main as cli
from pipelines.errors import GateError, MachineError, RequestError, UserError
from pipelines.export import stage as exporting

COMMANDS = sorted(cli.tandem.commands)


def found(command: str) -> click.Command:
    """A command by its words: of a group the one below it."""
    name, *below = command.split()
    first = cli.tandem.commands[name]
    return first.commands[below[0]] if below else first


# What does something: a group only holds others.
DOING = [
    command
    for name in COMMANDS
    for command in (
        [f"{name} {below}" for below in cli.tandem.commands[name].commands]
        if isinstance(cli.tandem.commands[name], click.Group)
        else [name]
    )
]
HEAVY = (
    "torch",
    "tensorflow",
    "keras",
    "ai_edge_litert",
    "executorch",
    "onnx",
    "onnxruntime",
    "locust",
    "gevent",
    "sklearn",
    "scipy",
)
IMPORTS = """
import importlib, json, sys
for name in sys.argv[1].split(","):
    importlib.import_module(name)
print(json.dumps([name for name in sys.argv[2].split(",") if name in sys.modules]))
"""
HELP = """
import json, sys
from pipelines.cli import main as cli
try:
    cli.main(sys.argv[2:])
finally:
    print(json.dumps([name for name in sys.argv[1].split(",") if name in sys.modules]))
"""


@pytest.fixture
def failing(monkeypatch):
    """`tandem boom` raises whatever the test gives."""

    def run(error):
        @cli.tandem.command("boom")
        def boom():
            raise error

        try:
            return cli._run(["boom"])
        finally:
            del cli.tandem.commands["boom"]

    return run


def run_main(*arguments):
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    return caught.value.code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (GateError("no"), 1),
        (UserError("no"), 2),
        (RequestError("no"), 2),
        (ModelError("no"), 2),
        (PayloadError("no"), 2),
        (RecorderError("no"), 3),
        (click.UsageError("no"), 2),
        (MachineError("no"), 3),
        (OSError(errno.ENOSPC, "No space left on device", "/runs/x"), 3),
        (PermissionError(errno.EACCES, "Permission denied", "/runs/x"), 3),
        (KeyboardInterrupt(), 130),
        (click.Abort(), 130),
    ],
)
def test_every_error_has_its_exit_code_and_one_line(failing, capsys, error, code):
    assert failing(error) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.lstrip("\n").startswith("tandem: ")  # after ^C comes an empty line, to get off that line
    assert err.strip("\n").count("\n") == 0
    assert "Traceback" not in err


def test_a_message_of_many_lines_is_printed_on_one(failing, capsys):
    failing(MachineError("first line\n  second   line\n\n\tthird"))
    assert capsys.readouterr().err == "tandem: first line second line third\n"


def test_a_refusing_machine_names_file_and_reason(failing, capsys):
    failing(OSError(errno.ENOSPC, "No space left on device", "/runs/x"))
    assert capsys.readouterr().err == "tandem: No space left on device: /runs/x\n"
    failing(OSError("odd"))
    assert capsys.readouterr().err == "tandem: odd: the operating system refused\n"


def test_an_interrupt_says_that_nothing_is_left(failing, capsys):
    failing(KeyboardInterrupt())
    assert capsys.readouterr().err.strip() == "tandem: interrupted; all child processes were stopped"


def test_a_bug_is_not_hidden(failing, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert failing(ZeroDivisionError("a bug of ours")) == 3
    assert "a bug of ours" in capsys.readouterr().err
    (trace,) = tmp_path.iterdir()
    assert "ZeroDivisionError: a bug of ours" in trace.read_text()


@pytest.mark.parametrize("command", DOING)
def test_every_command_has_help_with_an_example(command, capsys):
    assert run_main(*command.split(), "--help") == 0
    said = capsys.readouterr().out
    assert f"Usage: tandem {command}" in said
    assert f"Example: tandem {command}" in said
    parameters = found(command).params
    assert all(p.help for p in parameters if isinstance(p, click.Option))
    assert "--json" in said


@pytest.mark.parametrize("command", DOING)
def test_every_example_names_arguments_the_command_takes(command):
    words = found(command).epilog.removeprefix("Example: tandem ").split()
    own = command.split()
    assert words[: len(own)] == own
    found(command).make_context(command, words[len(own) :])


def test_the_help_lists_every_command_and_the_exit_codes(capsys):
    assert run_main("--help") == 0
    said = capsys.readouterr().out
    assert all(f"  {command} " in said for command in COMMANDS)
    flat = " ".join(said.split())
    for words in (
        "0 done",
        "1 a check failed",
        "2 the request was wrong",
        "3 the environment or a server failed",
        "130 interrupted",
    ):
        assert words in flat


def test_the_version_is_the_packages(capsys):
    assert run_main("--version") == 0
    assert capsys.readouterr().out.startswith("tandem, version ")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["exprot"], "No such command 'exprot'. Did you mean 'export'? See `tandem --help`."),
        (["serve"], "Missing argument 'TARGET'. See `tandem serve --help`."),
        (
            ["export", "--forse"],
            "No such option '--forse'. Did you mean '--force'? See `tandem export --help`.",
        ),
        (["models", "surplus"], "Got unexpected extra argument (surplus) See `tandem models --help`."),
        (
            ["compare", "--seed", "-1"],
            "Invalid value for '--seed': -1 is not in the range 0<=x<=9223372036854775807. See `tandem",
        ),
        (["export", "digit_cnn"], "unknown model 'digit_cnn'; did you mean digits_cnn? known: digits_cnn"),
        (
            ["serve", "tfservin"],
            "unknown target 'tfservin'; did you mean tfserving? allowed: torchserve, tfserving",
        ),
        (["serve", "tflite"], "unknown target 'tflite'; "),
        (["compare", "--profile", "smok"], "unknown profile 'smok'; did you mean smoke? allowed: smoke"),
        (
            ["compare", "--sides", "torchserve,tfservin"],
            "unknown target 'tfservin'; did you mean tfserving?",
        ),
        (["compare", "--sides", ""], "unknown target ''; allowed: torchserve, tfserving"),
        (["export", "no/such.py"], "model file no/such.py does not exist"),
        (["report", "no/run"], "no/run holds no run.json; give a folder below runs/, such as runs/latest"),
    ],
)
@pytest.mark.usefixtures("unguarded")
def test_a_wrong_request_is_one_line_with_the_way_out(arguments, said, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(exporting, "run_tasks", lambda *_: pytest.fail("this is a wrong request, not work"))
    assert run_main(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"tandem: {said}")
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", ["compare", "slo --p99-ms 20", "smoke"])
def test_the_former_spelling_of_sides_ends_in_one_line_with_the_new_one(words, capsys):
    assert run_main(*words.split(), "--targets", "tfserving,torchserve") == 2
    err = capsys.readouterr().err
    assert "--sides tfserving,torchserve" in err
    assert err.count("\n") == 1
    assert run_main(words.split()[0], "--help") == 0
    assert "--targets" not in capsys.readouterr().out


def test_verifying_what_was_never_exported_is_a_wrong_request(capsys, tmp_path):
    assert run_main("verify", "--artifacts", str(tmp_path)) == 2
    command = f"tandem export digits_cnn --artifacts {tmp_path}"
    assert f"holds no exported artifacts; run `{command}`" in capsys.readouterr().err


def test_a_run_of_another_schema_is_a_wrong_request(capsys, tmp_path):
    (tmp_path / "run.json").write_text('{"schema_version": 99}')
    assert run_main("report", str(tmp_path)) == 2
    assert f"{tmp_path / 'run.json'} does not follow this version's schema at " in capsys.readouterr().err


def test_tandem_alone_shows_its_help_in_lines(capsys):
    run_main()
    out, err = capsys.readouterr()
    assert max(len(line) for line in (out + err).splitlines()) <= 120


def test_models_prints_json_for_programs(capsys):
    assert run_main("models", "--json") == 0
    (found,) = [m for m in json.loads(capsys.readouterr().out) if m["name"] == "digits_cnn"]
    assert found["inputs"] == [{"name": "image", "dtype": "float32", "shape": [None, 8, 8, 1]}]
    assert found["has_twin"] is True
    assert len(found["digest"]) == 64


def test_models_prints_a_table_for_people(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "140")
    assert run_main("models") == 0
    said = capsys.readouterr().out
    assert "digits_cnn" in said
    assert "image (batch, 8," in said
    assert "logits (batch, 10)" in said


def test_doctor_fails_only_for_what_is_required(capsys, monkeypatch):
    def found(**required):
        return lambda _: [
            doctor.Check(name, ok=False, required=need, found="x", remedy="y")
            for name, need in required.items()
        ]

    monkeypatch.setattr(doctor, "examine", found(docker=False))
    assert run_main("doctor") == 0
    capsys.readouterr()
    monkeypatch.setattr(doctor, "examine", found(docker=False, java=True))
    assert run_main("doctor", "--json") == 3
    assert [check["name"] for check in json.loads(capsys.readouterr().out)] == ["docker", "java"]


def run_python(code, *arguments):
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("arguments", [["--help"], ["compare", "--help"], ["models", "--json"]])
def test_help_and_models_import_nothing_heavy(arguments):
    heavy = (*HEAVY, "numpy", "pydantic") if "--help" in arguments else HEAVY  # a model's samples are arrays
    done = run_python(HELP, ",".join(heavy), *arguments)
    assert done.returncode == 0
    assert json.loads(done.stdout.splitlines()[-1]) == []


@pytest.mark.parametrize("module", ["main", "make", "measure", "read", "serve"])
def test_the_command_line_itself_imports_not_even_our_own_stages(module):
    stages = "pipelines.compare.stage,pipelines.export.stage,pipelines.config.asked,numpy,rich.table,pydantic"
    assert json.loads(run_python(IMPORTS, f"pipelines.cli.{module}", stages).stdout) == []


def test_no_stage_imports_a_framework_before_it_works():
    modules = [
        "pipelines.compare.stage",
        "pipelines.run.rebuild",
        "pipelines.serve.stage",
        "pipelines.doctor",
        "pipelines.cli.tables",
        "pipelines.train.stage",
        "pipelines.tasks.task_main",
        "pipelines.targets.torchserve.export",
        "pipelines.targets.torchserve.server",
        "pipelines.targets.torchserve.runtime",
        "pipelines.targets.tfserving.export",
        "pipelines.targets.tfserving.server",
        "pipelines.targets.tfserving.runtime",
        "pipelines.targets.tflite.export",
        "pipelines.targets.tflite.runtime",
        "pipelines.targets.executorch.export",
        "pipelines.targets.executorch.runtime",
        "pipelines.targets.onnx.export",
        "pipelines.targets.onnx.runtime",
        "pipelines.mobile.stage",
        "models.digits_cnn",
    ]
    assert json.loads(run_python(IMPORTS, ",".join(modules), ",".join(HEAVY)).stdout) == []


def test_a_table_loads_no_stage():
    stages = [f"pipelines.{name}.stage" for name in ("export", "verify", "serve", "train", "check")]
    assert json.loads(run_python(IMPORTS, "pipelines.cli.tables", ",".join(stages)).stdout) == []


INTERRUPTIBLE = """
import os, sys, time
from pipelines.cli import main as cli
@cli.tandem.command("wait")
def wait():
    print("up", flush=True)
    time.sleep(60)
cli.main(["wait"])
"""


@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_ends_it_in_order_with_130(number):
    with subprocess.Popen(
        [sys.executable, "-c", INTERRUPTIBLE], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "up\n"
        process.send_signal(getattr(signal, number))
        assert process.stderr.read().strip() == "tandem: interrupted; all child processes were stopped"
        assert process.wait(10) == 130


ODD_PARENT = """
import os, signal, sys
for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGCHLD):
    signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGCHLD})
os.execv(sys.executable, [sys.executable, "-c", sys.argv[1]])
"""
SIGNALLED = """
import os, signal, subprocess, sys
from pipelines.cli import main as cli
@cli.tandem.command("wait")
def wait():
    os.kill(os.getpid(), signal.SIGHUP)
    print(subprocess.run([sys.executable, "-c", "raise SystemExit(7)"]).returncode, flush=True)
    os.kill(os.getpid(), signal.SIGTERM)
cli.main(["wait"])
"""


def test_nohup_is_heeded_and_no_other_signal_that_our_parent_ignores():
    done = run_python(ODD_PARENT, SIGNALLED)
    assert done.stdout == "7\n"
    assert done.returncode == 130


@pytest.mark.parametrize("module", ["pipelines.cli", "pipelines.cli.main"])
def test_running_the_module_is_the_same_command(module):
    done = subprocess.run(
        [sys.executable, "-m", module, "nothing"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == "tandem: No such command 'nothing'. See `tandem --help`.\n"


@pytest.mark.parametrize("option", ["--runs", "--artifacts"])
@pytest.mark.parametrize("target", ["nowhere", "link"])
@pytest.mark.usefixtures("unguarded")
def test_a_link_that_leads_to_no_folder_is_a_wrong_request(option, target, tmp_path, capsys):
    (tmp_path / "link").symlink_to(target)
    for path in (tmp_path / "link", tmp_path / "link" / "inner"):
        assert run_main("compare", "no_such_model", option, str(path)) == 2
        assert option in capsys.readouterr().err


ODD_NUMBERS = ("inf", "-inf", "nan", "1e308", "-1", "9" * 400, "", "x")


@pytest.mark.parametrize("number", ODD_NUMBERS)
@pytest.mark.parametrize(
    "arguments",
    [
        "compare --blocks",
        "compare --rounds",
        "compare --round-s",
        "compare --margin",
        "compare --seed",
        "compare --loads closed:",
        "compare --loads open:",
        "slo --p99-ms",
        "slo --p99-ms 20 --hourly-price",
        "slo --p99-ms 20 --round-s",
        "mobile --max-accuracy-drop",
        "mobile --max-bytes",
        "logs --lines",
        "serve torchserve --port",
    ],
)
@pytest.mark.usefixtures("unguarded")
def test_a_number_that_cannot_be_is_a_wrong_request_in_one_line(
    arguments, number, capsys, monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(exporting, "run_tasks", lambda *_: pytest.fail("this is a wrong request, not work"))
    words = arguments.split()
    words = [*words[:-1], words[-1] + number] if words[-1].endswith(":") else [*words, number]
    assert run_main(*words, "--json") == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("tandem: ")]
    assert len(lines) == 1
    assert len(lines[0]) < 1000
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", ["closed:99999999999", "closed:8193", "open:50001", "open:0.0001"])
@pytest.mark.usefixtures("unguarded")
def test_a_load_beyond_what_a_generator_can_do_is_a_wrong_request(number, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert run_main("compare", "--loads", number) == 2
    assert number.partition(":")[2] in capsys.readouterr().err


def redirected(words, redirection):
    script = f'exec "$0" -m pipelines.cli {words} {redirection}'
    return subprocess.run(
        ["sh", "-c", script, sys.executable], capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.slow
@pytest.mark.parametrize("redirection", ["2>&-", "<&- 2>&-", "2>/dev/full", "<&- >&- 2>&-", ">&-"])
@pytest.mark.parametrize(("words", "code"), [("models", 0), ("nothing", 2), ("report /nowhere", 2)])
def test_a_stream_that_is_closed_or_full_changes_no_exit_code(words, code, redirection):
    done = redirected(words, redirection)
    assert done.returncode == code
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("redirection", [">/dev/full", "| true", "--json >/dev/full"])
def test_output_that_nobody_takes_is_told_in_one_line(redirection):
    done = redirected("models", redirection)
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    if redirection.endswith("full"):
        assert done.returncode == 3
        assert len(done.stderr.splitlines()) == 1


def test_no_file_takes_the_place_of_a_closed_stream(tmp_path):
    code = (
        "import os, sys; from pipelines.console.printing import open_closed_streams; open_closed_streams();"
        "print(open(sys.argv[1], 'w').fileno(), file=sys.stdout)"
    )
    script = 'exec "$0" -c "$1" "$2" <&- 2>&-'
    done = subprocess.run(
        ["sh", "-c", script, sys.executable, code, tmp_path / "x"], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) > 2


@pytest.mark.parametrize(
    "error", [MemoryError(), MemoryError("malloc of size 64 failed"), ImportError("failed to map segment")]
)
def test_too_little_memory_is_one_line_and_3(error, failing, capsys):
    assert failing(error) == 3
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_full_disk_is_told_by_the_file_that_was_written(failing, capsys):
    copying = OSError(errno.ENOSPC, "No space left on device", "/from/here", None, "/to/there")
    assert failing(copying) == 3
    assert "/to/there" in capsys.readouterr().err
