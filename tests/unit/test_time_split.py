"""Where the time of a request goes: what servers tell, what falls into a round, and what is left of p50."""

import pytest
from report_fixture import make_round, make_run

from pipelines.judge.time_split import floor_of, judge_time_split
from pipelines.report import sections, time_split
from pipelines.report.sentences import say
from pipelines.targets.tfserving.embedded.metrics import Metrics
from pipelines.targets.tfserving.timings import from_metrics
from pipelines.targets.timings import Timings, parts_ms
from pipelines.targets.torchserve.timings import TorchServeTimings, from_page

LINE = "2026-11-27T19:21:59,209 - ts_{}_latency_microseconds.Microseconds:{}|#model_name:m|#hostname:vm\n"


def rounds(parts, count=100, load="closed:8"):
    return [
        make_round([1.0], index=n, target="torchserve", load=load).model_copy(
            update={"parts_ms": one, "requests_count": count * (n + 1)}
        )
        for n, one in enumerate(parts)
    ]


@pytest.fixture(scope="module")
def run():
    return make_run()


@pytest.fixture
def summary(run):
    """One of p50 10 ms."""
    found = run.targets["torchserve"].summaries[1]
    return found.model_copy(update={"latency_ms": found.latency_ms.model_copy(update={"p50": 10.0})})


def test_a_round_gets_means_of_what_fell_between_two_answers_and_the_rest_of_the_whole():
    before = Timings({"queue": (1.0, 100), "decode": (0.5, 90)}, (3.0, 100), "frontend")
    after = Timings({"queue": (1.2, 200), "decode": (0.6, 190)}, (3.6, 200), "frontend")
    assert parts_ms(before, after) == pytest.approx({"queue": 2.0, "decode": 1.0, "frontend": 3.0})


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, Timings({"queue": (1.0, 1)})),
        (Timings({"queue": (1.0, 5)}), None),
        (Timings({"queue": (1.0, 5)}), Timings({"queue": (1.0, 5)})),
        (Timings({"queue": (9.0, 5)}), Timings({"queue": (1.0, 6)})),
    ],
    ids=["nothing before", "nothing after", "no request", "began anew"],
)
def test_what_cannot_be_known_of_a_round_is_left_out(before, after):
    assert parts_ms(before, after) == {}


def test_without_all_other_parts_nothing_is_called_the_rest():
    before = Timings({"decode": (0.0, 0)}, (0.0, 0), "frontend")
    after = Timings({"decode": (1.0, 10), "queue": (1.0, 10)}, (9.0, 10), "frontend")
    assert set(parts_ms(before, after)) == {"decode"}


def test_parts_are_weighted_by_requests_and_the_rest_of_p50_is_unexplained(summary):
    found = judge_time_split(summary, rounds([{"queue": 4.0}, {"queue": 7.0}]), None)
    assert found.parts_ms["queue"] == pytest.approx((4 * 100 + 7 * 200) / 300)
    assert found.unexplained_ms == pytest.approx(4.0)
    (why,) = found.reasons
    assert (why.code, why.figures["share"]) == ("unexplained", pytest.approx(0.4))
    assert why.figures["missing"] == ("transport", "decode", "inference", "encode")
    assert say(why)


def test_parts_that_add_up_within_a_tenth_need_no_reason_and_too_much_does(summary):
    parts = {"frontend": 1.0, "queue": 6.0, "decode": 0.5, "encode": 0.5}
    enough = judge_time_split(summary, rounds([{**parts, "inference": 1.1}] * 2), None)
    assert enough.reasons == ()
    much = judge_time_split(summary, rounds([{**parts, "inference": 4.0}] * 2), None)
    assert much.unexplained_share == pytest.approx(-0.2)
    assert say(much.reasons[0])


def test_codec_stands_for_decode_and_encode(summary):
    found = judge_time_split(summary, rounds([{"codec": 1.0, "inference": 1.0}]), None)
    assert found.reasons[0].figures["missing"] == ("transport", "queue")


def test_transport_is_the_null_servers_own_time_without_the_queue_of_its_clients(run, summary):
    floor = floor_of(run.targets["torchserve"], "closed:8", run.targets)
    found = judge_time_split(summary, rounds([{"queue": 5.0}]), floor)
    assert found.parts_ms["transport"] == pytest.approx(1000 / floor.throughput_per_s)
    assert found.parts_ms["transport"] < floor.latency_ms.p50 / 4


def test_invalid_rounds_and_servers_that_tell_nothing_give_none(summary):
    spoilt = [one.model_copy(update={"valid": False}) for one in rounds([{"queue": 5.0}])]
    assert judge_time_split(summary, [*spoilt, *rounds([{}])], None) is None


def told(count=10, ns=1_000_000):
    return {"handled_count": count, **{f"{part}_ns": ns for part in ("decode", "inference", "encode")}}


def test_torchserves_log_is_read_on_from_where_it_was_and_half_a_line_waits(tmp_path):
    log = tmp_path / "ts_metrics.log"
    log.write_text(LINE.format("queue", 2000.0) + LINE.format("inference", "5000.0"))
    ask = TorchServeTimings(told, None, log)
    first = ask()
    assert first.totals["queue"] == (pytest.approx(0.002), 1)
    assert first.whole == (pytest.approx(0.005), 1)
    whole, line = log.read_text(), LINE.format("queue", "4e3")
    log.write_text(whole + line[:60])
    assert ask().totals["queue"][1] == 1
    log.write_text(whole + line + LINE.format("inference", 9000))
    assert ask().totals["queue"] == (pytest.approx(0.006), 2)


def test_a_log_that_began_anew_tells_no_queue(tmp_path):
    log = tmp_path / "ts_metrics.log"
    log.write_text(LINE.format("queue", 2000.0) * 9)
    ask = TorchServeTimings(told, None, log)
    assert "queue" in ask().totals
    log.write_text(LINE.format("queue", 2000.0))
    assert set(ask().totals) == {"decode", "inference", "encode"}


def test_the_handlers_parts_are_of_all_requests_that_its_workers_answered(tmp_path):
    answers = iter([told(0, 0), told(20, 5_000_000)])
    ask = TorchServeTimings(lambda: next(answers), None, tmp_path / "none")
    assert parts_ms(ask(), ask()) == dict.fromkeys(("decode", "inference", "encode"), 0.25)
    assert TorchServeTimings(dict, None, tmp_path / "none")().totals == {}


def test_torchserves_page_tells_the_same():
    page = 'ts_{}{{model_name="m",hostname="h"}} {}\n'
    text = page.format("inference_requests_total", 4.0)
    text += page.format("queue_latency_microseconds", 2000.0)
    text += page.format("inference_latency_microseconds", 8000.0)
    assert from_page(text) == ((pytest.approx(0.008), 4), (pytest.approx(0.002), 4))
    assert from_page("") == (None, None)


def test_the_embedded_servers_page_is_read_as_tensorflow_servings():
    metrics = Metrics()
    for _ in range(2):
        metrics.record("m", "Predict", "REST", "OK", 0.010)
        metrics.record_runtime("m", 0.006)
    found = from_metrics(metrics.page())
    assert found.totals == {"inference": (pytest.approx(0.012), 2)}
    assert (found.whole, found.rest) == ((pytest.approx(0.020), 2), "codec")
    metrics.record_batch(2, [0.001, 0.003])
    batched = from_metrics(metrics.page()).totals
    assert batched["queue"] == (pytest.approx(0.004), 2)
    assert batched["inference"] == (pytest.approx(0.008), 2)
    assert from_metrics("") == Timings({}, None)


def test_the_report_has_a_bar_and_a_row_for_every_side_and_load(run, summary):
    assert time_split.time_table(run).rows == ()
    assert sections.time_figure(run) is None
    split = judge_time_split(summary, rounds([{"queue": 5.0, "inference": 2.0}]), None)
    target = run.targets["torchserve"]
    summaries = tuple(one.model_copy(update={"time_split": split}) for one in target.summaries)
    changed = target.model_copy(update={"summaries": summaries})
    known = run.model_copy(update={"targets": {**run.targets, "torchserve": changed}})
    rows = time_split.time_table(known).rows
    assert len(rows) == 4
    plot = sections.time_figure(known)
    assert plot.svg.count('class="bar"') == 2 * 2 + 2
    assert plot.data.count("torchserve") >= 2 * 4
