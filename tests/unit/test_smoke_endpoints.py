"""The time-out of running endpoints in `tandem smoke`: for every question, and for the short load."""

from types import SimpleNamespace

import pytest

from loadtests.payloads import PayloadPool
from pipelines.access import Access
from pipelines.cli.main import tandem
from pipelines.errors import RequestError
from pipelines.smoke import load, stage
from pipelines.smoke.endpoints import smoke_sides
from pipelines.targets.endpoint import Endpoint

TODAY = "today=oip+http://127.0.0.1:9/m"


class Seen(Exception):  # noqa: N818 - how the test gets what was passed on
    pass


def seen(*given):
    raise Seen(given[0])


@pytest.mark.parametrize(
    ("typed", "timeout_s"), [({}, 10), ({"timeout_s": 2.5}, 2.5), ({"timeout_s": None}, 10)]
)
def test_an_endpoint_gets_the_time_that_was_typed(typed, timeout_s):
    options = {**typed}
    names, (side,) = smoke_sides(f"{TODAY},torchserve", options)
    assert (names, side.access.timeout_s) == (("torchserve",), timeout_s)
    assert "timeout_s" not in options


def test_a_time_for_endpoints_needs_one():
    with pytest.raises(RequestError, match=r"^--timeout-s is for running endpoints, and --sides names none"):
        smoke_sides("torchserve", {"timeout_s": 3.0})


def test_the_command_passes_it_on(monkeypatch):
    monkeypatch.setattr(stage, "smoke", seen)
    with pytest.raises(Seen) as caught:
        tandem.main(["smoke", "digits_cnn", "--sides", TODAY, "--timeout-s", "0.5"], standalone_mode=False)
    (side,) = caught.value.args[0].running
    assert side.access.timeout_s == 0.5


@pytest.mark.parametrize(("access", "timeout_s"), [(Access(timeout_s=0.5), 0.5), (None, load.TIMEOUT_S)])
def test_the_short_load_waits_as_long_as_was_typed(monkeypatch, access, timeout_s):
    monkeypatch.setattr(load, "generate", seen)
    endpoint = Endpoint("http://127.0.0.1:9", "/predict", "m", lambda: None, access=access)
    server = SimpleNamespace(plan=SimpleNamespace(endpoint=endpoint))
    with pytest.raises(Seen) as caught:
        load.short_load(server, PayloadPool("POST", "/predict", {}, (b"{}",)), (0,))
    assert caught.value.args[0].timeout_s == timeout_s
