import os
import resource
import subprocess
import sys
from types import SimpleNamespace

import pytest

from loadtests import generator
from loadtests.arrivals import parse_load
from loadtests.errors import LimitError


@pytest.mark.slow
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
    monkeypatch.setattr(generator, "_allow_connections", lambda _: None)
    monkeypatch.setattr(generator, "leave_out_web_page", lambda: None)
    saved = SimpleNamespace(save=lambda _: None)
    rounds_module = SimpleNamespace(
        run_round=lambda *_, core_is_ours, **_more: rounds.append(core_is_ours) or saved
    )  # the real one imports locust
    monkeypatch.setitem(sys.modules, "loadtests.one_round", rounds_module)
    generator._run(
        SimpleNamespace(
            cores=cores, cores_shared=shared, private_headers=False, result_file=None, parsed_load=None
        ),
        None,
    )
    assert (bool(went), rounds) == (first, [first])


@pytest.mark.parametrize(("load", "needed"), [("closed:100", 164), ("open:900", 65)])
def test_a_load_that_needs_more_files_than_may_be_open_is_no_failure_of_the_server(monkeypatch, load, needed):
    limits, told = [needed - 1], []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (8, limits[0]))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limit: told.append(limit))
    with pytest.raises(
        LimitError, match=f"{load} needs {needed} open files and only {needed - 1} .*ulimit -Hn"
    ):
        generator._allow_connections(parse_load(load))
    for limits[0] in (needed, resource.RLIM_INFINITY):
        generator._allow_connections(parse_load(load))
    assert told[-2:] == [(needed, needed), (resource.RLIM_INFINITY, resource.RLIM_INFINITY)]
