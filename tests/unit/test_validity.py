import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from round_facts import facts_of

from loadtests.reason import Reason
from loadtests.validity import invalidities

shares = st.none() | st.floats(0, 1)


def reasons(**changes):
    return tuple(Reason(one.code, one.figures) for one in invalidities(facts_of(**changes)))


def test_a_clean_quiet_round_may_be_used():
    assert reasons() == ()


@pytest.mark.parametrize(
    ("field", "allowed", "refused"),
    [
        ("errors_count", 10, 11),
        ("wrong_count", 0, 1),
        ("generator_cpu_share", 0.8, 0.8001),
        ("steal_share", 0.05, 0.0501),
        ("foreign_cpu_share", 0.05, 0.0501),
        ("foreign_cores", 0.2, 0.201),
        ("server_slowdown", 1.2, 1.201),
        ("generator_slowdown", 1.4, 1.401),  # it was at work for half of the time
        ("steady", True, False),
        ("delivered_share", 0.99, 0.9899),
        ("late_share", 0.01, 0.0101),
        ("generator_waited_share", 0.05, 0.0501),
    ],
)
def test_the_limit_itself_is_allowed_and_a_little_more_is_not(field, allowed, refused):
    assert reasons(**{field: allowed}) == ()
    assert len(reasons(**{field: refused})) == 1


def test_an_interrupted_round_may_not_be_used():
    assert reasons(interrupted=True) == (Reason("interrupted"),)


def test_a_round_without_requests_may_not_be_used():
    assert reasons(requests_count=0) == (Reason("no_answer"),)


@pytest.mark.parametrize("count", [1, 999])
def test_one_error_in_too_few_requests_is_too_many(count):
    assert reasons(requests_count=count, errors_count=1)
    assert not reasons(requests_count=1000, errors_count=1)


def test_what_could_not_be_measured_refuses_nothing():
    assert reasons(generator_cpu_share=None, steal_share=None, foreign_cpu_share=None) == ()
    assert reasons(steady=None, delivered_share=None, late_share=None) == ()


def test_every_reason_is_given_at_once():
    said = reasons(
        errors_count=300,
        wrong_count=2,
        generator_cpu_share=0.97,
        steal_share=0.2,
        foreign_cpu_share=0.5,
        interrupted=True,
    )
    assert said == (
        Reason("interrupted"),
        Reason("requests_failed", {"errors_count": 300, "requests_count": 10_000, "limit": 0.001}),
        Reason("wrong_answers", {"wrong_count": 2}),
        Reason("generator_saturated", {"share": 0.97, "limit": 0.8}),
        Reason("cpu_stolen", {"share": 0.2, "limit": 0.05}),
        Reason("foreign_cpu", {"share": 0.5, "limit": 0.05}),
    )


@pytest.mark.slow
@given(
    requests_count=st.integers(1, 10**6),
    errors_count=st.integers(0, 10**4),
    wrong_count=st.integers(0, 3),
    generator_cpu_share=shares,
    steal_share=shares,
    foreign_cpu_share=shares,
    foreign_cores=st.none() | st.floats(0, 64),
    server_slowdown=st.none() | st.floats(0.1, 4),
    generator_slowdown=st.none() | st.floats(0.1, 4),
    interrupted=st.booleans(),
    steady=st.none() | st.booleans(),
    delivered_share=st.none() | st.floats(0, 1.5),
    late_share=shares,
)
def test_a_round_is_valid_exactly_when_every_rule_holds(**facts):
    rules = (
        facts["errors_count"] * 1000 <= facts["requests_count"],
        facts["wrong_count"] == 0,
        (facts["generator_cpu_share"] or 0) <= 0.8,
        (facts["steal_share"] or 0) <= 0.05,
        (facts["foreign_cpu_share"] or 0) <= 0.05,
        (facts["foreign_cores"] or 0) <= 0.2,
        (facts["server_slowdown"] or 1) <= 1.2
        and ((facts["generator_slowdown"] or 1) - 1) * (facts["generator_cpu_share"] or 0) <= 1.2 - 1,
        not facts["interrupted"],
        facts["steady"] in (None, True),
        facts["delivered_share"] is None or facts["delivered_share"] >= 0.99,
        (facts["late_share"] or 0) <= 0.01,
    )
    assert len(reasons(**facts)) == rules.count(False)


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"interrupted": True}, "interrupted"),
        ({"steady": False}, "warm"),
        ({"delivered_share": 0.5}, "delivered"),
        ({"late_share": 0.5}, "lateness"),
        ({"errors_count": 5000}, "clean"),
        ({"requests_count": 0}, "clean"),
        ({"wrong_count": 5}, "right"),
        ({"generator_cpu_share": 0.9}, "generator"),
        ({"steal_share": 0.5}, "quiet"),
        ({"foreign_cpu_share": 0.5}, "quiet"),
        ({"foreign_cores": 3.0}, "quiet"),
        ({"server_slowdown": 1.6}, "quiet"),
        ({"generator_slowdown": 1.6}, "quiet"),
    ],
)
def test_each_reason_has_the_name_of_its_check(changes, check):
    (found,) = invalidities(facts_of(**changes))
    assert found.check == check


def test_reasons_of_an_open_load():
    assert reasons(steady=False, delivered_share=0.5, late_share=0.125) == (
        Reason("not_steady"),
        Reason("not_delivered", {"share": 0.5, "limit": 0.99}),
        Reason("sent_late", {"share": 0.125, "limit": 0.01}),
    )


def test_a_share_that_is_not_a_number_is_not_a_pass():
    assert len(reasons(generator_cpu_share=math.nan, delivered_share=math.nan, late_share=math.nan)) == 3
