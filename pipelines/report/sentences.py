"""Sentences from reasons: what a code and its figures mean, and what to do about it."""

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.console import format as fmt
from pipelines.parity.words import DIFFERENCES, differences_line
from pipelines.record.comparison import ComparisonRecord
from pipelines.record.reason import ReasonRecord

Figures = Mapping[str, Any]
SHARED = "server and load generator shared a CPU core: each one's queue is in the latencies"


@dataclass(frozen=True)
class Said:
    """What happened, and what to do about it where there is something to do."""

    happened: str
    remedy: str | None = None

    def __str__(self) -> str:
        return f"{self.happened}: {self.remedy}" if self.remedy else self.happened


def sentence(reason: ReasonRecord) -> str:
    """Say what happened and what to do, as one sentence without its full stop."""
    text = str(say(reason))
    return f"block {reason.figures['block']}: {text}" if "block" in reason.figures else text


def sentences(reasons: tuple[ReasonRecord, ...]) -> str:
    """Join all of them, one after the other."""
    return "; ".join(map(sentence, reasons))


def say(reason: ReasonRecord) -> Said:
    """Say what happened and what to do, apart.

    Raises:
        ValueError: a code that is none of this version's, or one without its figures in their types.
    """
    try:
        return MAKERS[reason.code](reason.figures)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"the reason {reason.code[:80]!r} is not known, or its figures are wrong") from error


def verdict_sentence(comparison: ComparisonRecord) -> str | None:
    """Say why a comparison has this verdict or none, with the interval it goes by."""
    if comparison.reason is None:
        return None
    follows = _after_interval(comparison)
    return f"{_interval(comparison)} {follows}" if follows else _of_comparison(comparison, comparison.reason)


def explanation(comparison: ComparisonRecord) -> str | None:
    """Explain as `verdict_sentence` does, without the figures that stand beside the verdict anyway."""
    follows = _after_interval(comparison)
    if follows:
        return f"the interval {follows}"
    return _of_comparison(comparison, comparison.reason) if comparison.reason else None


def _of_comparison(comparison: ComparisonRecord, reason: ReasonRecord) -> str:
    if "text" in reason.figures:
        return str(reason.figures["text"])
    if reason.code == "too_few_pairs":
        have = "has" if comparison.pairs_count == 1 else "have"
        pairs = fmt.plural(comparison.pairs_count, "valid pair")
        return f"{pairs} of rounds {have} this figure, an interval needs at least two"
    return sentence(reason)


def _after_interval(comparison: ComparisonRecord) -> str | None:
    """Return what follows the interval in a verdict's sentence; None if its place is not the reason."""
    reason = comparison.reason
    if reason is None or reason.code not in VERDICTS or "text" in reason.figures:
        return None
    return VERDICTS[reason.code](comparison, reason.figures)


def _interval(comparison: ComparisonRecord) -> str:
    low, high = comparison.verdict_interval or (float("nan"), float("nan"))
    ratio = "unknown" if comparison.ratio is None else f"{comparison.ratio:.3g}"
    return (
        f"the ratio {ratio} ({100 * (comparison.verdict_confidence or 0):.3g}% interval {low:.3g} to "
        f"{high:.3g}, {fmt.plural(comparison.pairs_count, 'pair')} of rounds in "
        f"{fmt.plural(comparison.blocks_count, 'block')})"
    )


def _position(comparison: ComparisonRecord, figures: Figures) -> str:
    margin = _short_percent(comparison.margin)
    return {
        "across": f"reaches across the margin of ±{margin}",
        "outside": f"lies outside ±{margin}",
        "within_floor": f"lies outside ±{margin}, but not beyond the noise floor of {_floor(comparison)}",
    }[figures["position"]]


def _floor(comparison: ComparisonRecord) -> str:
    return _short_percent(comparison.noise_floor or 0.0)


def _short_percent(share: float) -> str:
    value = 100 * share
    return f"{value:.0f}%" if value >= 100 else f"{value:.2g}%"  # noqa: PLR2004 - no power of ten in prose


def _across(comparison: ComparisonRecord, figures: Figures) -> str:
    more = fmt.plural(comparison.rounds_needed or 1, "more pair")
    return f"{_position(comparison, figures)}; about {more} of rounds would decide"


def _no_floor(comparison: ComparisonRecord, figures: Figures) -> str:
    which = f" of {' and '.join(figures['sides'])}" if figures["sides"] else ""
    return (
        f"{_position(comparison, figures)}; no control{which} gave an interval, so nobody knows how far this "
        "machine differs from itself: measure a control of every side"
    )


VERDICTS: Mapping[str, Callable[[ComparisonRecord, Figures], str]] = {
    "inside_margin": lambda comparison, _: f"lies inside ±{_short_percent(comparison.margin)}",
    "beyond_margin": lambda comparison, _: (
        f"lies outside ±{_short_percent(comparison.margin)} and beyond the noise floor of "
        f"{_floor(comparison)}"
    ),
    "across_margin": _across,
    "inside_floor": lambda comparison, figures: (
        f"{_position(comparison, figures)}; a difference inside the noise floor is not called: use a "
        "quieter machine"
    ),
    "near_limit": lambda comparison, figures: (
        f"{_position(comparison, figures)}; the ratio is so near a limit that "
        f"{figures['most_rounds_count']} more rounds may not do"
    ),
    "no_floor": _no_floor,
}


def _share(happened: str, remedy: str) -> Callable[[Figures], Said]:
    """Return a maker of both texts with the figures `share` and `limit` filled in."""

    def make(figures: Figures) -> Said:
        share, limit = _apart(figures["share"], figures["limit"])
        return Said(happened.format(found=share, limit=limit), remedy.format(limit=limit))

    return make


def _apart(share: float, limit: float) -> tuple[str, str]:
    """Format both in per cent, the share with as many digits as it takes to differ from its limit."""
    shown_limit = f"{limit:.0%}"
    for digits in range(6):
        if float(f"{share:.{digits}%}"[:-1]) != float(shown_limit[:-1]):
            return f"{share:.{digits}%}", shown_limit
    return f"{share!r} (as a share)", shown_limit


def _plain(happened: str, remedy: str | None = None) -> Callable[[Figures], Said]:
    """Return a maker of both texts with all figures filled in."""
    return lambda figures: Said(happened.format(**figures), remedy.format(**figures) if remedy else None)


def _mobile(happened: str) -> Callable[[Figures], Said]:
    """Return a maker of the text with its figures, and of how to measure the artifacts for devices."""
    return lambda figures: Said(
        happened.format(**figures), f"run `tandem mobile {shlex.quote(figures['model'])}`"
    )


def _failed(figures: Figures) -> Said:
    return Said(
        f"{figures['errors_count']} of {figures['requests_count']} requests failed, at most "
        f"{figures['limit']:.1%} may",
        "look into the server's log, or lower the load",
    )


def _foreign_cores(figures: Figures) -> Said:
    return Said(
        f"other programs used {figures['cores']:.2g} cores of the machine",
        f"stop them and run again (limit {figures['limit']:g} cores)",
    )


def _machine_slower(figures: Figures) -> Said:
    return Said(
        f"the {figures['where']}'s cores needed {figures['slowdown']:.2f} times as long as usual for a fixed "
        "computation",
        f"use a machine of its own, or one that keeps its speed (limit {figures['limit']:g})",
    )


def _drifted(figures: Figures) -> Said:
    pairs = zip(figures["sides"], figures["changes"], strict=True)
    changes = ", ".join(f"{side} by {change:+.0%}" for side, change in pairs)
    return Said(
        f"the speed still drifted from the block's first to its last round ({changes})", "measured again"
    )


def _still_warming_up(figures: Figures) -> Said:
    sides = figures["sides"]
    verb = "was" if len(sides) == 1 else "were"
    return Said(
        f"{' and '.join(sides)} {verb} still getting faster, or not shown to have stopped, when the budget "
        "of conditioning ended",
        "allow more conditioning, or longer rounds",
    )


def _invalid_rounds(figures: Figures) -> Said:
    if figures["last"] == "invalid_rounds":
        raise ValueError("the reason of a round is not that of a search")
    last = say(ReasonRecord(code=figures["last"], figures=dict(figures)))
    return Said(f"{figures['invalid_rounds_count']} rounds were invalid, the last because {last}")


def _mobile_noise(figures: Figures) -> Said:
    return Said(
        f"the machine was not quiet in {figures['noisy_count']} of {figures['timings_count']} in-process "
        f"measurements: up to {figures['foreign_share']:.0%} of all cores went to other programs (limit "
        f"{figures['foreign_limit']:.0%}) and {figures['steal_share']:.0%} to other guests of the host "
        f"(limit {figures['steal_limit']:.0%})",
        "measure again on an idle machine before believing a latency; sizes and accuracies stand",
    )


def _mobile_refused(figures: Figures) -> Said:
    """Say what the gate of mobile artifacts found; an older record has the sentence itself."""
    remedy = f"run `tandem mobile {shlex.quote(figures['model'])}`"
    if "refusal" in figures:
        return Said(f"the check of mobile artifacts failed: {figures['refusal']}", remedy)
    if figures["cause"] == "mobile_refused":
        raise ValueError("the reason of an artifact is not that of the check")
    subject = f"{figures['artifact']}: " if "artifact" in figures else ""
    cause = sentence(ReasonRecord(code=figures["cause"], figures=dict(figures)))
    return Said(f"the check of mobile artifacts failed: {subject}{cause}", remedy)


def _too_large(figures: Figures) -> Said:
    size, limit = figures["size_bytes"], figures["limit_bytes"]
    return Said(
        f"size {fmt.size(size)}, at most {fmt.size(limit)} is allowed: {fmt.size(size - limit)} too much"
    )


def _different(code: str) -> Callable[[Figures], Said]:
    """Return a maker of how outputs differ from the source model's, with the output's name."""
    return lambda figures: Said(differences_line([ReasonRecord(code=code, figures=dict(figures))]))


def _fewer_samples(figures: Figures) -> Said:
    counts = zip(figures["paths"], figures["samples_counts"], strict=True)
    return Said(
        f"some artifacts were asked only the first of {figures['samples_count']} held-out samples, since all "
        f"would take too long on this machine: {', '.join(f'{path} {count:.0f}' for path, count in counts)}",
        "read their accuracies as less certain than the others'",
    )


def _looked(figures: Figures) -> str:
    return (
        f"{fmt.plural(figures['blocks_count'], 'block')} and {figures['elapsed_s']:.0f} s of "
        f"{figures['limit_s']:.0f} s allowed; intervals hold at "
        f"{fmt.plural(figures['looks_count'], 'look')} together"
    )


def _unexplained(figures: Figures) -> Said:
    missing = ", ".join(figures["missing"]) or "nothing"
    if figures["share"] < 0:
        return Said(f"the parts are {-figures['share']:.0%} more than p50, as means are of a long tail")
    return Said(
        f"{fmt.significant(figures['unexplained_ms'])} ms ({figures['share']:.0%} of p50) are in no part; "
        f"not told: {missing}; what waits in a socket before the server reads it is in none either"
    )


MAKERS: Mapping[str, Callable[[Figures], Said]] = {
    "text": lambda figures: Said(figures["text"], figures.get("remedy")),
    # Rounds
    "interrupted": _plain("the round was interrupted", "run it again"),
    "not_recorded": _plain("no reason recorded"),
    "not_steady": _plain(
        "throughput and p50 had not settled within 10% when the warm-up's time was up",
        "allow a longer warm-up, or a lower load",
    ),
    "not_delivered": _share(
        "the load generator sent {found} of the offered rate, at least {limit} is needed",
        "lower the rate, or give the generator a faster core",
    ),
    "rate_capped": _share(
        "{found} of the requests were held back by --max-rate, at most {limit} may be",
        "a closed load then measures the limit: use open:RATE below it, or raise it",
    ),
    "sent_late": _share(
        "{found} of the requests were sent more than 1 ms late, at most {limit} may be",
        "lower the rate, or give the generator a core of its own",
    ),
    "no_answer": _plain("no request was answered", "look into the server's log"),
    "requests_failed": _failed,
    "wrong_answers": _plain("{wrong_count} checked answers were wrong", "run `tandem verify`"),
    "generator_saturated": _share(
        "the load generator used {found} of its core, at most {limit} may be",
        "its own queue is in the latencies; lower the concurrency",
    ),
    "generator_starved": _share(
        "the load generator had to wait for its core {found} of the time, at most {limit} may be",
        "what it waited is in the latencies; give it a core of its own, and no CPU quota",
    ),
    "cpu_stolen": _share(
        "{found} of a core that serves or generates was stolen by the host's other guests",
        "use a quieter machine (limit {limit})",
    ),
    "foreign_cpu": _share(
        "{found} of the cores that serve or generate was used by other programs",
        "stop them and run again (limit {limit})",
    ),
    "compilers_worked": _share(
        "just-in-time compilers took {found} of the server's processor time, of a warm one {limit} at most",
        "warm the server for longer before it is measured",
    ),
    "foreign_cores": _foreign_cores,
    "machine_slower": _machine_slower,
    "drifted": _drifted,
    # Comparisons
    "too_few_pairs": _plain("there are fewer than two valid pairs of rounds, so there is no interval"),
    "profile": _plain("this profile measures too little for verdicts", "use quick or full"),
    "still_warming_up": _still_warming_up,
    # Searches for an SLO
    "limit_kept": lambda figures: Said(_kept(figures)),
    "generator_limit": lambda figures: Said(
        f"{_kept(figures)}; the generator, not the server, is the limit: the server may do more"
    ),
    "highest_allowed": lambda figures: Said(f"{_kept(figures)}, the highest rate that was allowed"),
    "not_sent": lambda figures: Said(
        f"the generator was not able to send {fmt.rate_number(figures['rate_per_s'])} requests/s, so no rate "
        "was measured"
    ),
    "no_rate": lambda figures: Said(
        f"no rate keeps p99 within {figures['p99_limit_ms']:g} ms, not even "
        f"{figures['min_rate_per_s']:g} requests/s"
    ),
    "unsettled": _plain("{rounds_count} rounds did not settle it", "use longer rounds, or start nearer"),
    "too_few_for_p99": _plain("too few requests succeeded for a p99", "use longer rounds"),
    "invalid_rounds": _invalid_rounds,
    # Searches for a configuration
    "beaten": lambda figures: Said(
        f"it did not keep p99 within {figures['p99_limit_ms']:g} ms at "
        f"{fmt.rate_number(figures['breaks_at_per_s'])} requests/s; another configuration sustains "
        f"{fmt.rate_number(figures['to_beat_per_s'])}"
    ),
    "trial_failed": _plain("the server of this configuration failed: {error}"),
    "side_without_rate": _plain("a search of {side} found no rate"),
    "side_gave_up": _plain("a search of {side} gave up"),
    "side_without_search": _plain("no search of {side} ended"),
    "both_bounded": _plain("the rates of both are lower bounds, which say nothing of their ratio"),
    "no_block_of_both": _plain("no block has a search of both targets"),
    "one_block": _plain("one block gives no interval"),
    # Comparisons that end when they are decided
    "decided": lambda figures: Said(
        f"measuring ended when the primary metric was decided, after {_looked(figures)}"
    ),
    "time_up": lambda figures: Said(
        f"the time was up and the primary metric is not decided, after {_looked(figures)}",
        "give more time with --decide-within",
    ),
    "gate_decided": lambda figures: Said(
        f"measuring ended when the gate was decided, after {_looked(figures)}"
    ),
    "gate_time_up": lambda figures: Said(
        f"the time was up and the gate is not decided, after {_looked(figures)}",
        "give more time with --decide-within",
    ),
    # Warnings
    "stand_in": _plain(
        "{target} was answered by {implementation} {version}: {note}",
        "read every figure of this target as that server's, not as the product's",
    ),
    "imported": _plain(
        "the model was imported as files and has no source: all are held against its {reference} ({source})",
        "read parity as agreement with that file",
    ),
    "random_samples": _plain(
        "its samples are random numbers, which show a wrong file and say nothing of accuracy",
        "import it again with --samples to know more",
    ),
    "exporter": _plain(
        "exporting {text}",
        "see whether it concerns the model; what was exported agrees with it on the held-out samples",
    ),
    "nothing_exported": lambda figures: Said(
        f"nothing could be exported for {figures['target']}: "
        f"{'; '.join(figures['reasons']) or 'no reason was given'}",
        f"run `tandem export {shlex.quote(figures['model'])} --targets {figures['target']} --force` "
        "to see it again",
    ),
    # What is not known of a running endpoint
    "not_started_here": _plain("Tandem did not start it"),
    "another_machine": _plain("it runs on another machine"),
    "process_not_seen": _plain("the process that listens there cannot be told from here"),
    "container_not_seen": _plain(
        "its engine runs in a virtual machine or elsewhere, and its processes cannot be seen from here"
    ),
    "only_core": _plain(SHARED, "run on a machine with at least two cores"),
    "shared_core": _plain(
        SHARED, "leave core {generator_cores} to one of them: --server-cores, --generator-core"
    ),
    "hyper_threads": _plain(
        "server core {server_cores} and the load generator's core {generator_cores} are hyper-threads of one "
        "physical core: each slows the other",
        "give them physical cores of their own with --server-cores and --generator-core",
    ),
    "endpoint_shares_core": _plain(
        "the processes of {side} may use core {generator_cores}, where the load is generated: each slows the "
        "other",
        "keep them on other cores: `taskset --cpu-list {server_cores}` before its command, or `tandem serve "
        "--server-cores {server_cores}`",
    ),
    "mobile_not_measured": _mobile("mobile artifacts were not measured"),
    "unexplained": _unexplained,
    "in_process_failed": _plain(
        "what {target} serves could not be timed in process: {error}",
        "read no efficiency of it; the comparison is not concerned",
    ),
    "mobile_failed": _mobile("mobile artifacts could not be measured: {error}"),
    "mobile_refused": _mobile_refused,
    "mobile_noise": _mobile_noise,
    # Why a figure is missing
    "too_few_requests": _plain(
        "p{percentile} needs at least {needed_count} successful requests, there are {succeeded_count}"
    ),
    "none_succeeded": _plain("no request succeeded"),
    "not_summarised": _plain("not summarised yet"),
    "too_few_calls": _plain(
        "p{percentile} needs at least {needed_count} calls, there was time for {calls_count}"
    ),
    # Artifacts for devices
    **{code: _different(code) for code in DIFFERENCES},
    "too_large": _too_large,
    "not_run": _plain("it could not be measured: {error}"),
    "not_measurable": _plain("neither accuracy, top-1 agreement nor output error could be measured"),
    "smallest": _plain("it is the smallest of {passed_count} of {artifacts_count} artifacts that pass"),
    "none_passes": _plain("none of {artifacts_count} artifacts passes"),
    "none_exported": _plain("no artifact could be exported for devices"),
    "none_left": _plain("no artifact is left to ship"),
    "fewer_samples": _fewer_samples,
}


def _kept(figures: Figures) -> str:
    rate = fmt.rate_number(figures["rate_per_s"])
    return f"p99 stays within {figures['p99_limit_ms']:g} ms up to {rate} requests/s"
