"""The gate's self-test measures on the cores that were asked for, as a comparison does."""

import os
from pathlib import Path

import pytest

from pipelines.errors import RequestError
from pipelines.gate import self_test
from pipelines.gate.self_test import LIMITS, SelfTestRequest
from pipelines.machine.cores import split_cores


def settings_for(**cores):
    return self_test._settings(
        SelfTestRequest("digits_cnn", "tfserving", 5.0, 1000, LIMITS, Path("a"), Path("r"), **cores)
    )


def test_the_cores_that_were_asked_for_serve_and_generate():
    core = min(os.sched_getaffinity(0))
    cores = settings_for(server_cores=str(core), generator_core=str(core)).cores
    assert (cores.server, cores.generator) == ((core,), (core,))


def test_without_any_they_are_chosen():
    assert settings_for().cores == split_cores()


def test_cores_that_cannot_be_used_are_refused():
    with pytest.raises(RequestError, match="--generator-core is '99999'"):
        settings_for(generator_core="99999")
