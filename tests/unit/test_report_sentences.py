"""What a person reads for each code: one line with its figures, and what to do about it."""

import re

import pytest
from round_facts import facts_of

from loadtests.validity import invalidities
from pipelines.record.reason import reason, recorded
from pipelines.report.sentences import MAKERS, say, sentence


def sentences_of(**changes):
    return [sentence(recorded(one)) for one in invalidities(facts_of(**changes))]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"interrupted": True}, "the round was interrupted: run it again"),
        ({"requests_count": 0}, "no request was answered: look into the server's log"),
        (
            {"errors_count": 300},
            "300 of 10000 requests failed, at most 0.1% may: look into the server's log, or lower the load",
        ),
        ({"wrong_count": 2}, "2 checked answers were wrong: run `tandem verify`"),
        (
            {"generator_cpu_share": 0.97},
            "the load generator used 97% of its core, at most 80% may be: its own queue is in the latencies; "
            "lower the concurrency",
        ),
        (
            {"generator_waited_share": 0.18},
            "the load generator had to wait for its core 18% of the time, at most 5% may be: what it waited "
            "is in the latencies; give it a core of its own, and no CPU quota",
        ),
        (
            {"steal_share": 0.2},
            "20% of a core that serves or generates was stolen by the host's other guests: use a quieter "
            "machine (limit 5%)",
        ),
        (
            {"foreign_cpu_share": 0.5},
            "50% of the cores that serve or generate was used by other programs: stop them and run again "
            "(limit 5%)",
        ),
        (
            {"foreign_cores": 1.84},
            "other programs used 1.8 cores of the machine: stop them and run again (limit 0.2 cores)",
        ),
        (
            {"server_slowdown": 1.62},
            "the server's cores needed 1.62 times as long as usual for a fixed computation: use a machine of "
            "its own, or one that keeps its speed (limit 1.2)",
        ),
        (
            {"steady": False},
            "throughput and p50 had not settled within 10% when the warm-up's time was up: allow a longer "
            "warm-up, or a lower load",
        ),
        (
            {"delivered_share": 0.5},
            "the load generator sent 50% of the offered rate, at least 99% is needed: lower the rate, or "
            "give the generator a faster core",
        ),
        (
            {"late_share": 0.125},
            "12% of the requests were sent more than 1 ms late, at most 1% may be: lower the rate, or give "
            "the generator a core of its own",
        ),
    ],
)
def test_why_a_round_may_not_be_used(changes, text):
    assert sentences_of(**changes) == [text]


@pytest.mark.parametrize("beyond", [0.004, 0.0004, 1e-6, 1e-12])
@pytest.mark.parametrize(
    ("field", "limit", "sign"),
    [
        ("generator_cpu_share", 0.8, 1),
        ("steal_share", 0.05, 1),
        ("foreign_cpu_share", 0.05, 1),
        ("late_share", 0.01, 1),
        ("delivered_share", 0.99, -1),
    ],
)
def test_a_sentence_never_shows_a_figure_that_equals_its_limit(field, limit, sign, beyond):
    (text,) = sentences_of(**{field: limit + sign * beyond})
    shown, shown_limit = re.findall(r"(0\.\d+|[\d.]+%)", text)
    assert shown != shown_limit


FIGURES = {"p99_limit_ms": 50.0, "rate_per_s": 412.34}


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (reason("limit_kept", **FIGURES), "p99 stays within 50 ms up to 412 requests/s"),
        (
            reason("no_rate", p99_limit_ms=50.0, min_rate_per_s=5.0, block=2),
            "block 2: no rate keeps p99 within 50 ms, not even 5 requests/s",
        ),
        (
            reason("invalid_rounds", invalid_rounds_count=6, last="foreign_cores", cores=3.0, limit=0.2),
            "6 rounds were invalid, the last because other programs used 3 cores of the machine: stop them "
            "and run again (limit 0.2 cores)",
        ),
        (
            reason("drifted", sides=("a", "b"), changes=(0.5, -0.25)),
            "the speed still drifted from the block's first to its last round (a by +50%, b by -25%): "
            "measured again",
        ),
        (
            reason("fewer_samples", samples_count=360, paths=("a.pte", "b.pte"), samples_counts=(20, 40)),
            "some artifacts were asked only the first of 360 held-out samples, since all would take too long "
            "on this machine: a.pte 20, b.pte 40: read their accuracies as less certain than the others'",
        ),
        (
            reason("nothing_exported", target="executorch", model="m", reasons=()),
            "nothing could be exported for executorch: no reason was given: run `tandem export m --targets "
            "executorch --force` to see it again",
        ),
    ],
)
def test_sentences_of_searches_drift_and_warnings(found, text):
    assert sentence(found) == text


def test_text_that_others_wrote_is_taken_as_it_is():
    assert sentence(reason("exporter", text="{braces} stay: 100%")).startswith(
        "exporting {braces} stay: 100%"
    )


@pytest.mark.parametrize(
    "found",
    [
        reason("made_up"),
        reason("drifted"),
        reason("foreign_cpu", share=0.3),
        reason("foreign_cpu", share="much", limit=0.2),
        reason("drifted", sides=1, changes=2),
        reason("drifted", sides=("a", "b"), changes=(0.5,)),
        reason("invalid_rounds", invalid_rounds_count=6, last="invalid_rounds"),
    ],
)
def test_an_unknown_code_or_wrong_figures_are_an_error(found):
    with pytest.raises(ValueError, match=found.code):
        say(found)


def test_every_code_is_documented(request):
    document = (request.config.rootpath / "docs" / "run-json.md").read_text()
    assert [code for code in MAKERS if f"`{code}`" not in document] == []
