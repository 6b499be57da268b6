"""Presets: what is right resolves to one typed configuration, what is wrong is refused before any work."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from models.digits_cnn import MODEL
from models.spec import ModelSpec, TensorSpec
from pipelines.cli.main import main
from pipelines.config.asked import run_settings
from pipelines.errors import RequestError
from pipelines.targets.presets import SHIPPED, Preset, changed, resolve
from pipelines.targets.registry import SERVED
from pipelines.targets.tfserving.settings import TFServingSettings
from pipelines.targets.torchserve.settings import TorchServeSettings

GOOD = [
    ("[torchserve]\n", "torchserve", {}),
    ("[torchserve]\njob_queue_size = 7\n", "torchserve", {"job_queue_size": 7}),
    ("[torchserve]\nasync_logging = false\n", "torchserve", {"async_logging": False}),
    (
        '[torchserve]\nvmargs = ["-Xmx1g", "-Xlog:gc"]\n',
        "torchserve",
        {"vmargs": ("-Xmx1g", "-Xlog:gc")},
    ),
    ('[torchserve]\nmetrics_mode = "legacy"\n[tfserving]\n', "torchserve", {"metrics_mode": "legacy"}),
    ("[tfserving]\ngrpc_max_threads = 2\n", "tfserving", {"grpc_max_threads": 2}),
    ("[tfserving]\nenable_model_warmup = false\n", "tfserving", {"enable_model_warmup": False}),
]
# What is wrong, and words that the one line must have: the culprit, and the way out.
BAD = [
    ("[torchserve]\njob_que_size = 5\n", ("'job_que_size'", "did you mean job_queue_size")),
    ('[torchserve]\njob_queue_size = "many"\n', ("job_queue_size", "'many'", "integer")),
    ("[torchserve]\njob_queue_size = true\n", ("job_queue_size", "True", "integer")),
    ("[torchserve]\njob_queue_size = 0\n", ("job_queue_size", "0", "1")),
    ("[torchserve]\njob_queue_size = 2.5\n", ("job_queue_size", "2.5", "integer")),
    ("[torchserve]\nasync_logging = 1\n", ("async_logging", "boolean")),
    ('[torchserve]\nmetrics_mode = "off"\n', ("metrics_mode", "'off'", "'prometheus'")),
    ('[torchserve]\nvmargs = "-Xmx1g"\n', ("vmargs", "tuple")),
    ('[torchserve]\nvmargs = ["-Djava.io.tmpdir=/x"]\n', ("vmargs", "-Djava.io.tmpdir", "-Xmx512m")),
    ('[torchserve]\nvmargs = ["-Xmx1g -Dx=y"]\n', ("vmargs", "-Xmx512m")),
    ('[torchserve]\nvmargs = ["-Xmx1g\\n-Dx=y"]\n', ("vmargs", "-Xmx512m")),
    ('[torchserve]\ninference_address = "http://0.0.0.0:80"\n', ("inference_address", "allowed:")),
    ("[torchserve]\n[tfserving]\nenable_baching = true\n", ("did you mean enable_batching", "allowed:")),
    ("[torchserve]\n[tfserving]\nmax_batch_size = 8\n", ("max_batch_size needs enable_batching = true",)),
    (
        "[torchserve]\n[tfserving]\nenable_batching = true\nmax_batch_size = 8\nallowed_batch_sizes = [4]\n",
        ("the last must be max_batch_size, 8",),
    ),
    ("[torchserve]\n[tfservin]\n", ("'tfservin'", "did you mean tfserving")),
    ("[torchserve]\n[tflite]\n", ("'tflite'", "allowed: torchserve, tfserving")),
    ("job_queue_size = 5\n", ("job_queue_size", "[torchserve]")),
    ("[tfserving]\n", ("torchserve", "add a table [torchserve]")),
    ("", ("add a table [torchserve]",)),
    ("[torchserve\n", ("is not TOML", "line 1")),
    ("[torchserve]\n[torchserve]\n", ("is not TOML",)),
    ("\ufeff[torchserve]\n", ("is not TOML",)),
]


@pytest.mark.parametrize(("text", "target", "given"), GOOD)
def test_a_file_resolves_to_what_it_sets_and_nothing_else(tmp_path, text, target, given):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    preset = resolve(str(path), [target])[target]
    assert preset.name == str(path)
    assert preset.settings.given() == given


@pytest.mark.parametrize(("text", "words"), BAD)
def test_a_wrong_file_is_refused_in_one_line(tmp_path, text, words):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(RequestError) as caught:
        resolve(str(path), ["torchserve"])
    line = str(caught.value)
    assert "\n" not in line
    assert "mine.toml" in line
    assert [word for word in words if word not in line] == []


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("tune", ("'tune'", "did you mean tuned", ".toml")),
        ("fast", ("allowed: default, tuned",)),
        ("", ("allowed: default, tuned",)),
        ("none.toml", ("no preset file none.toml",)),
        ("folder.toml", ("a folder",)),
        ("folder", ("allowed: default, tuned",)),
        ("bytes.toml", ("is not TOML",)),
        ("huge.toml", ("1048576 bytes",)),
    ],
)
def test_what_is_no_preset_is_refused_in_one_line(tmp_path, monkeypatch, asked, words):
    monkeypatch.chdir(tmp_path)
    for name in ("folder.toml", "folder"):
        (tmp_path / name).mkdir()
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    (tmp_path / "huge.toml").write_bytes(b"#" * (2**20 + 1))
    with pytest.raises(RequestError) as caught:
        resolve(asked, SERVED)
    assert [word for word in words if word not in str(caught.value)] == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("compare", "--preset", "tune"),
        ("slo", "--p99-ms", "5", "--preset", "tune"),
        ("serve", "torchserve", "--preset", "tune"),
        ("smoke", "--runner", "local", "--preset", "tune"),
        ("up", "--preset", "tune"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_wrong_preset_ends_a_command_before_any_work(tmp_path, monkeypatch, capsys, arguments):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "did you mean tuned" in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("target", SERVED)
def test_the_default_sets_nothing_and_tuned_sets_something(target):
    default, tuned = (resolve(name, [target])[target] for name in SHIPPED)
    assert default.settings.given() == Preset().settings_of(target).given() == {}
    assert tuned.settings.given() != {}


def test_no_shipped_setting_is_what_the_virtual_machine_does_anyway():
    options = resolve("tuned", ["torchserve"])["torchserve"].settings_as(TorchServeSettings).vmargs
    assert not [option for option in options if "TieredStopAtLevel" in option]


def test_links_that_form_a_loop_are_no_preset(tmp_path):
    (tmp_path / "mine.toml").symlink_to(tmp_path / "mine.toml")
    with pytest.raises(RequestError, match="cannot be read"):
        resolve(str(tmp_path / "mine.toml"), ["torchserve"])


def test_a_link_to_a_preset_is_followed(tmp_path):
    (tmp_path / "real.toml").write_text("[tfserving]\ngrpc_max_threads = 2\n")
    (tmp_path / "link.toml").symlink_to("real.toml")
    assert resolve(str(tmp_path / "link.toml"), ["tfserving"])["tfserving"].settings.given()


def test_one_run_has_one_configuration_per_target():
    settings = run_settings(profile="smoke", sides="torchserve,tfserving", preset="tuned", model="x")
    assert {side.name: type(side.preset.settings) for side in settings.sides} == {
        "torchserve": TorchServeSettings,
        "tfserving": TFServingSettings,
    }
    twice = run_settings(profile="smoke", sides="torchserve,torchserve", model="x").sides
    assert [side.preset for side in twice] == [resolve("default", ["torchserve"])["torchserve"]] * 2


def test_a_limit_that_is_set_is_the_limit_that_is_recorded():
    limit = TorchServeSettings(max_request_size=7_000_000)
    assert limit.max_request_bytes(MODEL) == 7_000_000
    assert [line for line in limit.properties(MODEL) if line.startswith("max_request_size")] == [
        "max_request_size=7000000"
    ]
    assert TorchServeSettings().max_request_bytes(MODEL) == 6_553_500
    assert TFServingSettings().max_request_bytes(MODEL) is None


@pytest.mark.parametrize("kind", [TorchServeSettings, TFServingSettings])
def test_every_setting_is_in_the_documentation(kind):
    page = (Path(__file__).parents[2] / "docs" / "presets.md").read_text()
    assert [name for name in kind.model_fields if f"`{name}`" not in page] == []


def test_settings_of_batching_make_the_file_that_both_servers_read(tmp_path):
    from pipelines.targets.tfserving.embedded.batching_parameters import BatchingParameters, read_parameters

    settings = TFServingSettings(
        enable_batching=True,
        max_batch_size=32,
        batch_timeout_micros=0,
        num_batch_threads=2,
        allowed_batch_sizes=(8, 32),
        pad_variable_length_inputs=True,
        grpc_max_threads=3,
    )
    assert settings.flags("/f") == [
        *("--enable_batching=true", "--grpc_max_threads=3", "--batching_parameters_file=/f/batching")
    ]
    (tmp_path / "batching").write_text(settings.files(MODEL)["batching"])
    assert read_parameters(tmp_path / "batching") == BatchingParameters(
        32, 0, num_batch_threads=2, allowed_batch_sizes=(8, 32), pad_variable_length_inputs=True
    )
    assert list(TFServingSettings().files(MODEL)) == ["flags"]


def test_batching_of_torchserve_is_the_models_own():
    (line,) = [
        line
        for line in TorchServeSettings(batchSize=8, maxBatchDelay=5).properties(MODEL)
        if line.startswith("models=")
    ]
    version = {"defaultVersion": True, "marName": f"{MODEL.name}.mar", "batchSize": 8, "maxBatchDelay": 5}
    assert json.loads(line.removeprefix("models=")) == {MODEL.name: {"1.0": version}}
    assert not [line for line in TorchServeSettings().properties(MODEL) if line.startswith("models=")]


def model_of(shape: tuple[int | None, ...], outputs: tuple[int | None, ...] = (None, 2)) -> ModelSpec:
    tensors = (TensorSpec("x", "float32", shape),), (TensorSpec("y", "float32", outputs),)
    return replace(MODEL, inputs=tensors[0], outputs=tensors[1], labels=())


FIXED, VARYING, NUMBERS = model_of((None, 8)), model_of((None, None, 8)), model_of((None, 8), (None,))


@pytest.mark.parametrize(
    ("target", "spec", "batched"),
    [
        ("torchserve", FIXED, True),
        ("torchserve", VARYING, True),  # the handler sorts a batch by shape
        ("torchserve", NUMBERS, True),
        ("tfserving", FIXED, True),
        ("tfserving", VARYING, False),
        ("tfserving", NUMBERS, True),
        ("triton", FIXED, True),
        ("triton", VARYING, True),
        ("triton", NUMBERS, False),
    ],
)
def test_tuned_batches_the_models_that_the_server_is_able_to_batch(target, spec, batched):
    tuned = resolve("tuned", [target])[target]
    names = set(tuned.settings.batching_settings)
    fitted = tuned.fitted(spec)
    assert bool(names & fitted.settings.given().keys()) == batched
    assert {k: v for k, v in fitted.settings.given().items() if k not in names} == {
        k: v for k, v in tuned.settings.given().items() if k not in names
    }
    assert fitted.settings.files(spec)


def test_batching_that_was_asked_for_stays_whatever_the_model(tmp_path):
    tuned = resolve("tuned", ["tfserving"])["tfserving"]
    asked = changed(tuned, "tfserving", {"max_batch_size": 8}, "--set")
    assert asked.fitted(VARYING).settings.given()["max_batch_size"] == 8
    other = changed(tuned, "tfserving", {"rest_api_num_threads": 8}, "--set")
    assert "enable_batching" not in other.fitted(VARYING).settings.given()
    file = tmp_path / "mine.toml"
    file.write_text("[tfserving]\nenable_batching = true\n")
    own = resolve(str(file), ["tfserving"])["tfserving"]
    assert own.fitted(VARYING) == own


@pytest.mark.parametrize(
    ("target", "switch"), [("tfserving", "enable_batching"), ("triton", "dynamic_batching")]
)
def test_batching_is_switched_off_by_its_switch_alone(target, switch):
    tuned = resolve("tuned", [target])[target]
    off = changed(tuned, target, {switch: False}, "--set")
    assert off.name == f"tuned+{switch}=false"
    assert off.settings.given().keys() & set(tuned.settings.batching_settings) == {switch}


def test_a_name_says_what_was_changed_and_nothing_that_was_unset_already():
    on = {"enable_batching": True, "max_batch_size": 8, "allowed_batch_sizes": None}
    batched = changed(Preset("mine", TFServingSettings()), "tfserving", on, "--set")
    assert batched.name == "mine+enable_batching=true,max_batch_size=8"
    off = changed(batched, "tfserving", dict.fromkeys(on), "--set")
    assert off.name == f"{batched.name}+enable_batching=unset,max_batch_size=unset"


@pytest.mark.parametrize("target", ["tfserving", "triton"])
def test_more_rows_than_a_batch_holds_are_refused(target):
    most = resolve("tuned", [target])[target].settings.most_rows
    assert most
    asked = {"profile": "smoke", "sides": f"{target}:tuned,torchserve:tuned", "model": "x"}
    assert run_settings(**asked, rows=most).rows == most
    with pytest.raises(RequestError, match=f"--rows is {most + 1}, and {target}:tuned takes {most} at most"):
        run_settings(**asked, rows=most + 1)
    larger = f"{target}:tuned.max_batch_size={most + 1}"
    assert run_settings(**asked, rows=most + 1, changes=(larger,)).rows == most + 1
