"""`tandem gate`: what is called fail, pass and undecided, and what is refused."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from gate_fixture import gated_run
from report_fixture import make_run
from test_deciding import looked

from pipelines.cli.main import tandem
from pipelines.errors import RequestError
from pipelines.gate.limits import METRICS, Limit, asked_limits
from pipelines.gate.presentation import facts, line, outputs_facts, remarks, verdict
from pipelines.gate.stage import GateRequest, gate
from pipelines.outputs.asked import FORMATS
from pipelines.report import write_report

P99 = (Limit(METRICS["p99"], 0.05),)
ALL = asked_limits({"p99": "5%", "p50": "5%", "throughput": "5%", "memory": "5%", "cold-start": "10%"})


def kept(run, folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(run.model_dump_json())
    return folder


@pytest.fixture
def decide(tmp_path):
    """The gate's result on one run or on two, which are runs of their own unless one is given twice."""
    count = 0

    def run_gate(*runs, limits=P99, **options):
        nonlocal count
        count += 1
        own = [run.model_copy(update={"run_id": f"{run.run_id}-{runs.index(run)}"}) for run in runs]
        paths = [kept(run, tmp_path / f"{count}-{place}") for place, run in enumerate(own)]
        return gate(GateRequest(paths[0], paths[1] if len(paths) > 1 else None, limits, **options))

    return run_gate


def words(result) -> dict[str, str]:
    return {one.metric: one.word for one in result.findings}


def reasons(result) -> dict[str, str]:
    return {one.metric: one.reason.code for one in result.findings}


def test_the_same_build_passes_interleaved_and_stored(decide):
    one = decide(gated_run({"base": 1.0, "new": 1.0}), limits=ALL)
    assert one.word == "pass", verdict(one)
    two = decide(gated_run({"torchserve": 1.0}), gated_run({"torchserve": 1.0}, seed=2), limits=ALL)
    assert two.word == "pass", verdict(two)
    assert {f.metric for f in two.findings} == {*(limit.metric.key for limit in ALL), "answers", "failures"}


@pytest.mark.parametrize("interleaved", [True, False])
def test_a_slower_build_fails_and_the_message_names_metric_factor_and_interval(decide, interleaved):
    runs = (
        [gated_run({"base": 1.0, "new": 1.1})]
        if interleaved
        else [gated_run({"torchserve": 1.0}), gated_run({"torchserve": 1.1}, seed=2)]
    )
    result = decide(*runs, limits=ALL)
    assert result.word == "fail"
    found = {one.metric: one for one in result.findings}
    assert {found[key].word for key in ("p99", "p50", "throughput")} == {"fail"}
    low, high = found["p99"].interval
    assert 1.05 < low < 1.1 < high < 1.15
    assert found["p99"].factor == pytest.approx(1.1, rel=0.02)
    assert found["throughput"].factor == pytest.approx(1 / 1.1, rel=0.02)
    told = verdict(result)
    assert "p99 of" in told
    assert f"{found['p99'].factor:.3f} times the baseline's ({low:.3f}" in told
    assert "may rise by 5" in told


@pytest.mark.parametrize("named", [("new", None), ("base", "base"), (None, "base")])
def test_a_side_is_not_compared_with_itself(decide, named):
    baseline, candidate = named
    with pytest.raises(RequestError, match="itself, which always passes"):
        decide(gated_run({"base": 1.0, "new": 1.3}), baseline_side=baseline, candidate_side=candidate)


def test_a_run_is_not_compared_with_itself(decide):
    run = gated_run({"torchserve": 1.0})
    with pytest.raises(RequestError, match="one run"):
        decide(run, run)


def test_a_faster_build_passes_however_much_faster(decide):
    assert decide(gated_run({"base": 1.0, "new": 0.6}), limits=ALL).word == "pass"


def test_a_faster_build_needs_no_noise_floor_to_pass_and_a_slower_one_does_to_fail(decide):
    assert decide(gated_run({"base": 1.0, "new": 0.8}, controlled=False)).word == "pass"
    slower = decide(gated_run({"base": 1.0, "new": 1.3}, controlled=False))
    assert words(slower)["p99"] == "undecided"
    assert "no control of new and base" in verdict(slower)


def test_an_interval_across_the_limit_is_undecided_with_the_rounds_that_would_decide(decide):
    result = decide(gated_run({"base": 1.0, "new": 1.03}, noise=0.04, rounds=2))
    assert result.word == "undecided"
    assert result.findings[-1].rounds_needed >= 1
    assert "more pair" in verdict(result)


def test_a_difference_inside_the_machines_own_noise_is_not_called(decide):
    loud = gated_run({"base": 1.0, "new": 1.2})
    floors = tuple(one.model_copy(update={"noise_floor": 0.5}) for one in loud.controls)
    result = decide(loud.model_copy(update={"controls": floors}))
    assert words(result)["p99"] == "undecided"
    assert "this machine's own noise" in verdict(result)


def test_one_wrong_answer_in_a_thousand_fails(decide):
    result = decide(gated_run({"base": 1.0, "new": 1.0}, wrong=["new"]))
    assert result.word == "fail"
    assert words(result) == {"answers": "fail", "failures": "pass", "p99": "pass"}
    assert "1 of 9600 checked answers were wrong" in verdict(result)


def test_a_wrong_answer_of_the_baseline_fails_nobody(decide):
    assert decide(gated_run({"base": 1.0, "new": 1.0}, wrong=["base"])).word == "pass"


def test_exact_figures_decide_by_themselves(decide):
    baseline = gated_run({"torchserve": 1.0})
    target = baseline.targets["torchserve"]
    parity = target.endpoint_parity.model_copy(update={"accuracy": 0.97})
    worse = {**baseline.targets, "torchserve": target.model_copy(update={"endpoint_parity": parity})}
    candidate = baseline.model_copy(update={"targets": worse})
    strict, loose = (asked_limits({"accuracy": text}) for text in ("0.5%", "1%"))
    assert words(decide(baseline, candidate, limits=strict))["accuracy"] == "fail"
    assert words(decide(baseline, candidate, limits=loose))["accuracy"] == "pass"
    assert "-1 points" in verdict(decide(baseline, candidate, limits=strict))
    nothing = decide(baseline, candidate, limits=asked_limits({"image-size": "0%"}))
    assert words(nothing)["image-size"] == "undecided"
    assert "not recorded of both" in verdict(nothing)


def test_memory_of_an_older_record_and_of_another_counter_is_undecided(decide):
    run = gated_run({"base": 1.0, "new": 1.0})
    limits = asked_limits({"memory": "5%"})
    for change, said in (
        ({"block_peaks": ()}, "fewer than two fresh"),
        ({"source": "cgroup"}, "which do not"),
    ):
        memory = run.targets["new"].memory.model_copy(update=change)
        targets = {**run.targets, "new": run.targets["new"].model_copy(update={"memory": memory})}
        result = decide(run.model_copy(update={"targets": targets}), limits=limits)
        assert words(result)["memory"] == "undecided"
        assert said in verdict(result)


def test_a_server_that_still_climbed_is_neither_passed_nor_failed(decide):
    from pipelines.record.conditioning import DriftRecord

    run = gated_run({"base": 1.0, "new": 1.3})
    drift = DriftRecord(block=0, load="closed:8", change=0.4, resolved=False)
    targets = {**run.targets, "new": run.targets["new"].model_copy(update={"drifts": (drift,)})}
    result = decide(run.model_copy(update={"targets": targets}))
    assert words(result)["p99"] == "undecided"
    assert reasons(result)["p99"] == "still_warming_up"


def environment(run, **changes):
    return run.model_copy(update={"environment": run.environment.model_copy(update=changes)})


def test_another_machine_or_version_is_refused_with_its_fields_or_printed(decide):
    baseline = gated_run({"torchserve": 1.0})
    other = environment(
        gated_run({"torchserve": 1.0}, seed=2),
        cpu_model="another",
        versions={**baseline.environment.versions, "torch": "2.14.0"},
        git_commit="another",
    )
    with pytest.raises(RequestError, match=r"cpu_model .*version of torch \(2.13.0 → 2.14.0\)") as error:
        decide(baseline, other)
    assert "commit" not in str(error.value)
    result = decide(baseline, other, allow_environment=True)
    assert [one.field for one in result.environment] == ["cpu_model", "version of torch"]
    assert "version of torch" in FORMATS["markdown"](outputs_facts(result, passed=True))
    rebooted = environment(other, **{**baseline.environment.model_dump(), "memory_bytes": 8_322_000_000})
    assert decide(baseline, rebooted).environment == ()


def over_grpc(run):
    target = run.targets["torchserve"]
    who = target.implementation.model_copy(update={"protocol": "gRPC"})
    target = target.model_copy(update={"implementation": who})
    return run.model_copy(update={"targets": {**run.targets, "torchserve": target}})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (over_grpc, "in payload of torchserve"),
        (
            lambda run: run.model_copy(update={"model": run.model.model_copy(update={"name": "x"})}),
            "in model",
        ),
        (
            lambda run: run.model_copy(
                update={"profile": run.profile.model_copy(update={"loads": ("closed:1",)})}
            ),
            "in loads",
        ),
        (lambda _: gated_run({"tfserving": 1.0}), "in sides"),
        (lambda run: run.model_copy(update={"payload": None}), "in payload"),
        (lambda run: run.model_copy(update={"kind": "slo"}), "tandem slo"),
        (lambda run: run.model_copy(update={"status": "interrupted"}), "is interrupted"),
        (
            lambda run: run.model_copy(
                update={"profile": run.profile.model_copy(update={"verdicts": False, "name": "smoke"})}
            ),
            "no verdicts",
        ),
    ],
)
def test_runs_that_do_not_compare_are_refused(decide, change, said):
    run = gated_run({"torchserve": 1.0})
    with pytest.raises(RequestError, match=said):
        decide(run, change(run))


@pytest.mark.slow
def test_a_run_without_the_two_sides_says_how_to_get_them(decide):
    with pytest.raises(RequestError, match=r"no side base, new, only torchserve.*--sides base=ARTIFACTS_DIR"):
        decide(gated_run({"torchserve": 1.0}))
    named = decide(gated_run({"a": 1.0, "b": 1.3}), baseline_side="a", candidate_side="b")
    assert named.word == "fail"
    several = decide(gated_run({"base-x": 1.0, "new-x": 1.0, "base-y": 1.0, "new-y": 1.3}))
    assert {(one.side, one.word) for one in several.findings if one.metric == "p99"} == {
        ("x", "pass"),
        ("y", "fail"),
    }


@pytest.mark.parametrize(
    ("sides", "lacking"), [(("base-x", "new-x", "new-y"), "base-y"), (("base", "new", "new-y"), "base-y")]
)
def test_a_candidate_without_a_baseline_is_refused_unless_a_pair_is_named(decide, sides, lacking):
    run = gated_run(dict.fromkeys(sides, 1.0))
    with pytest.raises(RequestError, match=f"no side {lacking}, only"):
        decide(run)
    named = decide(run, baseline_side=sides[0], candidate_side=sides[1])
    assert (named.word, named.left_out) == ("pass", ())


def test_sides_that_belong_to_no_pair_are_named(decide):
    result = decide(gated_run({"base": 1.0, "new": 1.0, "other": 2.0}))
    assert result.word == "pass"
    assert result.left_out == ("other",)
    assert facts(result)["left_out"] == ["other"]
    assert any("other" in said for said in remarks(result))
    assert list(remarks(decide(gated_run({"base": 1.0, "new": 1.0})))) == []


def test_what_an_older_run_did_not_record_is_no_difference(decide):
    older = gated_run({"torchserve": 1.0})
    payload = make_run().payload
    newer = changed(gated_run({"torchserve": 1.0}, seed=2), payload=payload, settings={"minWorkers": 1})
    other = changed(older, payload=payload, settings={"minWorkers": 4})
    older, newer, other = (run.model_copy(update={"payload": payload}) for run in (older, newer, other))
    result = decide(older, newer)
    assert (result.word, result.configuration) == ("pass", ())
    assert [one.field for one in decide(other, newer).configuration] == ["torchserve minWorkers"]


def changed(run, *, payload, settings):
    """The run whose one side has recorded payload and settings."""
    (name, target), *_ = run.targets.items()
    who = target.implementation.model_copy(update={"settings": settings})
    new = target.model_copy(update={"payload": payload, "implementation": who})
    return run.model_copy(update={"targets": {**run.targets, name: new}})


def test_a_run_that_ended_when_it_was_decided_is_told_of_more_time_and_not_of_blocks(decide):
    run = gated_run({"base": 1.0, "new": 1.0}, noise=0.1, rounds=2, blocks=2)
    limits = asked_limits({"p99": "5%", "memory": "1%"})
    for made, option in ((run, "--blocks of `tandem compare`"), (looked(run, 0.5, 1.0), "more time with")):
        unsure = decide(made, limits=limits).of("undecided")
        assert {one.metric for one in unsure} == {"p99", "memory"}
        assert [line(one) for one in unsure if option not in line(one)] == []


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ({"p99": "10"}, "did you mean 10%"),
        ({"p99": "ten"}, "a percentage is allowed"),
        ({"p99": "0%"}, "above 0%"),
        ({"throughput": "100%"}, "below 100%"),
        ({"size": "-1%"}, "a percentage is allowed"),
    ],
)
def test_a_limit_that_cannot_be(typed, said):
    with pytest.raises(RequestError, match=said):
        asked_limits(typed)


def test_without_limits_p99_may_rise_by_five_per_cent():
    (limit,) = asked_limits(dict.fromkeys(METRICS))
    assert (limit.metric.key, limit.share) == ("p99", 0.05)


@pytest.mark.slow
def test_many_same_builds_fail_at_most_rarely_and_a_tenth_slower_nearly_always(decide):
    """On quiet machines rounds of p99 vary by some 2 %; what a gate of three blocks calls then."""
    fails = dict.fromkeys((1.0, 1.1), 0)
    for factor in fails:
        for seed in range(20):
            run = gated_run({"base": 1.0, "new": factor}, noise=0.02, seed=seed)
            fails[factor] += decide(run).word == "fail"
    assert fails[1.0] == 0
    assert fails[1.1] >= 18


def invoke(*arguments: str):
    return CliRunner().invoke(tandem, ["gate", *arguments], standalone_mode=False)


@pytest.mark.slow
def test_exit_codes_and_outputs(tmp_path):
    same = kept(gated_run({"base": 1.0, "new": 1.0}), tmp_path / "same")
    slow = kept(gated_run({"base": 1.0, "new": 1.3}), tmp_path / "slow")
    unsure = kept(gated_run({"base": 1.0, "new": 1.03}, noise=0.04, rounds=2), tmp_path / "unsure")
    junit = tmp_path / "gate.xml"
    assert invoke(str(same)).return_value == 0
    assert invoke(str(slow / "run.json"), "--output", f"junit={junit}").return_value == 1
    assert '<failure message="new.p99 under closed:8: fail: 1.' in junit.read_text()
    assert invoke(str(unsure)).return_value == 1
    assert invoke(str(unsure), "--undecided", "pass").return_value == 0
    told = json.loads(invoke(str(slow), "--json").output.partition("\n}")[0] + "\n}")
    assert told["word"] == "fail"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "holds no run.json"),
        (["nowhere", "--output", "junti=x"], "did you mean junit"),
        (["nowhere", "--max-p99-regression", "10"], "did you mean 10%"),
        (["nowhere", "--allow-environment"], "is about two runs"),
        (["nowhere", "elsewhere", "--baseline-side", "x"], "two were given"),
    ],
)
def test_a_wrong_request_is_refused_before_anything_is_read(arguments, said):
    with pytest.raises(RequestError, match=said):
        CliRunner().invoke(tandem, ["gate", *arguments], standalone_mode=False, catch_exceptions=False)


def test_every_finding_has_a_line_and_is_json(decide):
    result = decide(gated_run({"base": 1.0, "new": 1.1}), limits=ALL)
    assert all(f": {one.word}: " in line(one) for one in result.findings)
    assert json.loads(json.dumps(facts(result)))["findings"]


def test_a_gated_run_still_has_a_report(tmp_path):
    assert write_report(gated_run({"base": 1.0, "new": 1.1}), tmp_path).is_file()


def test_an_interval_of_two_fresh_servers_is_written_so_that_it_can_be_read(decide):
    run = gated_run({"base": 1.0, "new": 1.0}, blocks=2, noise=0.3)
    result = decide(run, limits=asked_limits({"memory": "5%", "cold-start": "5%"}))
    assert "undecided" in words(result).values()
    assert all(len(line(one)) < 300 for one in result.findings)


def test_a_figure_that_is_written_for_ci_has_the_usual_interval_whatever_the_word_goes_by(decide):
    result = decide(gated_run({"base": 1.0, "new": 1.2}), limits=ALL)
    p99 = next(one for one in result.findings if one.metric == "p99")
    assert p99.confidence > 0.95
    figure = next(f for f in outputs_facts(result, passed=False).figures if f.measure.startswith("p99"))
    assert (figure.low, figure.high) == p99.usual_interval
    assert p99.interval[0] < figure.low < figure.high < p99.interval[1]


def test_what_is_counted_and_the_accuracy_are_figures_too(decide):
    run = gated_run({"base": 1.0, "new": 1.0}, wrong=["new"])
    result = decide(run, limits=asked_limits({"accuracy": "1%"}))
    found = json.loads(FORMATS["bencher"](outputs_facts(result, passed=False)))
    assert found["digits_cnn/new"] == {
        "wrong-answers-count": {"value": 1.0},
        "failed-requests-count": {"value": 0.0},
        "accuracy-share": {"value": 0.98},
    }
    assert "| wrong answers | 1 |" in FORMATS["markdown"](outputs_facts(result, passed=False))
