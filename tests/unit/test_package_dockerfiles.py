"""The Dockerfiles, as text: what must hold with any engine, with BuildKit and without."""

import re

import pytest

from pipelines.package.missing import BUILDER_LABEL
from pipelines.package.recipes import IMAGES, KEYS, LOCUST, SERVER_KEYS, dockerfile
from pipelines.targets.contained import CONTAINED

ALL = KEYS
OF_A_MODEL = (
    ("ARG", "MODEL"),
    ("ENV", "MODEL_NAME=${MODEL}"),
    ("COPY", "etc /etc/tandem"),
    ("COPY", "models /models"),
)


def instructions(key: str) -> list[tuple[str, str]]:
    """Keyword and the rest of every instruction, continued lines joined."""
    lines = [line for line in dockerfile(key).decode().splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line)]


def last_stage(key: str) -> list[tuple[str, str]]:
    """What is in the image: the server's own stage, and the model on it."""
    found = instructions(key)
    froms = [number for number, (word, _) in enumerate(found) if word == "FROM"]
    return found[froms[-1 if key == LOCUST else -2] :]


@pytest.mark.parametrize("key", ALL)
def test_nothing_needs_buildkit(key):
    text = dockerfile(key).decode()
    assert "--mount" not in text
    assert "<<" not in text
    assert "--chmod" not in text
    assert "--start-interval" not in text
    assert "# syntax" not in text


@pytest.mark.parametrize("key", ALL)
def test_only_apt_uses_the_network(key):
    for word, rest in instructions(key):
        assert word != "ADD"
        assert not re.search(r"\b(curl|wget|pip install|git)\b", rest)


@pytest.mark.parametrize("key", ALL)
def test_the_base_is_a_setting_and_pinned(key):
    assert ("ARG", "BASE=debian:bookworm-slim") in instructions(key)
    stages = set()
    for word, rest in instructions(key):
        if word == "FROM":
            image, _, name = rest.partition(" AS ")
            assert image in {"${BASE}", "${TFSERVING_BASE}", *stages}
            stages.add(name)


@pytest.mark.parametrize("key", ALL)
def test_it_runs_as_an_ordinary_user_and_is_told_to_stop_by_a_signal_it_gets(key):
    stage = dict(last_stage(key))
    assert stage["USER"] == "10001:10001"
    assert stage["STOPSIGNAL"] == "SIGTERM"
    assert stage["ENTRYPOINT"].startswith("[")


@pytest.mark.parametrize("key", ALL)
def test_what_builds_is_not_shipped(key):
    assert not any("gcc" in rest or "install.sh" in rest for _, rest in last_stage(key))
    assert not any(word == "COPY" and rest.startswith("wheels ") for word, rest in last_stage(key))


@pytest.mark.parametrize("key", SERVER_KEYS)
def test_health_means_a_right_answer(key):
    port = CONTAINED[IMAGES[key][0]].rest_port
    check = dict(last_stage(key))["HEALTHCHECK"]
    assert f'CMD ["/usr/local/bin/tandem-probe", "check", "{port}", "/etc/tandem/health"]' in check
    # Often enough to notice, rarely enough not to disturb a measurement.
    assert "--interval=30s" in check


def test_no_image_exposes_a_management_or_metrics_port():
    exposed = {key: dict(last_stage(key))["EXPOSE"] for key in ALL}
    assert exposed == {
        "torchserve": "8080 7070",
        "tfserving": "8501 8500",
        "tfserving-embedded": "8501 8500",
        "python": "8000",
        "triton": "8000 8001",
        "mlserver": "8080 8081",
        "locust": "8089 5557",
    }


def test_the_official_image_is_what_serves_and_its_tag_is_a_setting():
    assert ("ARG", "TFSERVING_BASE=tensorflow/serving:2.21.0") in instructions("tfserving")
    stage = last_stage("tfserving")
    assert stage[0] == ("FROM", "${TFSERVING_BASE} AS runtime")
    assert not any(word == "RUN" for word, _ in stage), "nothing is known of the base's tools"
    assert "tensorflow_model_server" in dict(stage)["ENTRYPOINT"]


def test_both_tfserving_images_differ_only_in_what_answers():
    def comparable(key):
        kept = [
            step for step in last_stage(key) if step[0] in ("USER", "EXPOSE", "HEALTHCHECK", "STOPSIGNAL")
        ]
        return kept, [
            step
            for step in last_stage(key)
            if step in (("COPY", "models /models"), ("COPY", "etc /etc/tandem"))
        ]

    assert comparable("tfserving") == comparable("tfserving-embedded")


@pytest.mark.parametrize("key", ALL)
def test_stages_that_only_build_are_labelled_and_the_image_is_not(key):
    """What carries the label is removed after a build."""
    found = instructions(key)
    tools = found.index(("FROM", "python AS tools"))
    assert found[tools + 1] == ("LABEL", f"{BUILDER_LABEL}=yes")
    stages = [rest for word, rest in found if word == "FROM"]
    kept = 1 if key == LOCUST else 2
    assert all(stage.startswith(("tools AS ", "torch AS ")) for stage in stages[2:-kept])
    assert not any(stage.startswith(("tools", "torch")) for stage in stages[-kept:])


@pytest.mark.parametrize("key", [key for key in ALL if key != LOCUST])
def test_nothing_of_a_model_is_in_the_stage_that_all_models_share(key):
    found = last_stage(key)
    (model,) = (number for number, step in enumerate(found) if step == ("FROM", "runtime"))
    assert [step for step in found[:model] if step in OF_A_MODEL] == []
    assert found[model + 1 :] == list(OF_A_MODEL)
