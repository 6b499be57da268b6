"""`--set`: one setting of a side."""

import re

import pytest

from pipelines.config.asked import run_settings
from pipelines.errors import RequestError
from pipelines.measure.fairness import differing
from pipelines.targets.changes import apply_changes, read_value
from pipelines.targets.presets import Preset
from pipelines.targets.side import parse_sides


def set_of(sides: str, *texts: str) -> dict[str, Preset]:
    return {one.name: one.preset for one in apply_changes(parse_sides(sides), texts)}


def test_a_setting_changes_its_side_alone() -> None:
    found = set_of("torchserve,torchserve", "torchserve-2.default_workers_per_model=2")
    assert found["torchserve"].name == "default"
    assert found["torchserve"].settings.given() == {}
    assert found["torchserve-2"].settings.given() == {"default_workers_per_model": 2}
    assert found["torchserve-2"].name == "default+default_workers_per_model=2"


def test_the_rest_of_a_preset_stays() -> None:
    before = set_of("torchserve:tuned")["torchserve:tuned"].settings.given()
    after = set_of("torchserve:tuned", "torchserve:tuned.job_queue_size=7")[
        "torchserve:tuned"
    ].settings.given()
    assert after == {**before, "job_queue_size": 7} != before


def test_settings_of_one_side_are_checked_together() -> None:
    found = set_of("tfserving", "max_batch_size=8", "enable_batching=true")["tfserving"].settings.given()
    assert found == {"max_batch_size": 8, "enable_batching": True}
    with pytest.raises(RequestError, match="max_batch_size needs enable_batching"):
        set_of("tfserving", "max_batch_size=8")


def test_a_side_whose_name_has_dots_and_colons() -> None:
    found = set_of("v1.2=torchserve,tfserving:grpc", "v1.2.batchSize=4", "tfserving:grpc.grpc_max_threads=3")
    assert found["v1.2"].settings.given() == {"batchSize": 4}
    assert found["tfserving:grpc"].settings.given() == {"grpc_max_threads": 3}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2", 2),
        ("true", True),
        ('["-Xmx1g"]', ["-Xmx1g"]),
        ('"log"', "log"),
        ("prometheus", "prometheus"),
        ("1\nother = 2", "1\nother = 2"),
        ("", ""),
    ],
)
def test_values_are_tomls_or_text(text: str, value: object) -> None:
    assert read_value(text) == value


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (("torchserve.default_worker_per_model=2",), "did you mean default_workers_per_model?"),
        (("torchserv.batchSize=2",), "did you mean torchserve?"),
        (("batchSize=2",), "names no side of 2; write torchserve.batchSize=2"),
        (("torchserve.batchSize",), "allowed: [SIDE.]KEY=VALUE"),
        ((".batchSize=2",), "allowed: [SIDE.]KEY=VALUE"),
        (("torchserve.=2",), "allowed: [SIDE.]KEY=VALUE"),
        (("torchserve.batchSize=2", "torchserve.batchSize=3"), "is set twice"),
        (("torchserve.batchSize=0",), "batchSize of torchserve is 0"),
        (("torchserve.batchSize=many",), "batchSize of torchserve is 'many'"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(texts: tuple[str, ...], said: str) -> None:
    with pytest.raises(RequestError, match=re.escape(said)) as caught:
        set_of("torchserve,tfserving", *texts)
    assert "\n" not in str(caught.value)


def test_nothing_can_be_set_of_a_server_that_somebody_else_runs() -> None:
    with pytest.raises(RequestError, match="prod runs elsewhere, and nothing of it can be set"):
        set_of("prod=tfserving+http://127.0.0.1:9/v1/models/m,torchserve", "prod.batchSize=2")


def test_a_difference_that_was_set_is_on_purpose() -> None:
    settings = run_settings(
        profile="smoke",
        sides="torchserve:tuned,torchserve:tuned",
        model="digits_cnn",
        changes=("torchserve:tuned-2.batchSize=4",),
    )
    assert "preset" in differing(settings.sides)
