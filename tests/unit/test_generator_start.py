import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from loadtests import generator


def test_a_round_does_not_import_the_web_page():
    code = (
        "import sys; from loadtests.generator import leave_out_web_page; leave_out_web_page();"
        "import loadtests.one_round; sys.exit('flask' in sys.modules or 'locust' not in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("cores", "shared", "first"), [((1,), False, True), ((1,), True, False), ((), False, False)]
)
def test_the_generator_goes_first_only_on_a_core_that_no_server_uses(monkeypatch, cores, shared, first):
    went, rounds = [], []
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.setattr(os, "sched_setaffinity", lambda *_: None)
    monkeypatch.setattr(generator, "go_first", lambda: went.append(True))
    monkeypatch.setattr(generator, "_allow_many_connections", lambda: None)
    monkeypatch.setattr(generator, "leave_out_web_page", lambda: None)
    saved = SimpleNamespace(save=lambda _: None)
    rounds_module = SimpleNamespace(
        run_round=lambda *_, core_is_ours, **_more: rounds.append(core_is_ours) or saved
    )  # the real one imports locust
    monkeypatch.setitem(sys.modules, "loadtests.one_round", rounds_module)
    generator._run(
        SimpleNamespace(cores=cores, cores_shared=shared, private_headers=False, result_file=None), None
    )
    assert (bool(went), rounds) == (first, [first])
