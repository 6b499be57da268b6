"""The first paragraph of a report: which side, by how much, how sure, under what, and what would turn it."""

from collections.abc import Iterator
from dataclasses import dataclass

from pipelines.console import format as fmt
from pipelines.judge.rates import confirming_requests_count
from pipelines.record.comparison import ComparisonRecord
from pipelines.record.implementation import GivenRecord
from pipelines.record.run import RunRecord
from pipelines.record.target import TargetRecord
from pipelines.record.tradeoff import Measure
from pipelines.report import banners, pick, slo, tradeoffs, training, tune
from pipelines.report.verdicts import judged_wider, undecided

MOST_SAID = 4
FASTER = {"throughput": "answers more requests per second than"}
EVEN = {"throughput": "answer as many requests per second"}


@dataclass(frozen=True)
class Answer:
    """A paragraph for people who decide, in four parts; a part may be empty.

    Attributes:
        result: which side, by how much, and how sure that is.
        conditions: under what load and budget.
        turns: what would change the answer.
        not_shown: what this run says nothing about.
    """

    result: str
    conditions: str
    turns: str
    not_shown: str

    @property
    def parts(self) -> tuple[tuple[str, str], ...]:
        """What follows the result: each part that is not empty, with its name."""
        named = (
            ("Measured", self.conditions),
            ("What would change it", self.turns),
            ("Not shown", self.not_shown),
        )
        return tuple((name, text) for name, text in named if text)


def answer(run: RunRecord) -> Answer:
    """Answer for a run that compared servers, searched for their highest rate, or compared trainings."""
    if run.kind == "train":
        texts = (training.headline(run), *training.answer_parts(run))
        return Answer(*map(fmt.one_line, texts))
    result = fmt.one_line(_headline(run))
    if not pick.compared(run):
        return Answer(result, "", "", "")
    return Answer(result, *map(fmt.one_line, (_conditions(run), _turns(run), _not_shown(run))))


def _headline(run: RunRecord) -> str:
    if run.slo:
        return slo.headline(run)
    return tune.headline(run) if run.tune else _result(run)


def remarks(run: RunRecord) -> tuple[str, ...]:
    """Return what stands beside the result: what was not alike, and how many rounds were left out."""
    rounds = pick.all_rounds(run)
    lost = len(pick.unused(run))
    left_out = [f"{pick.not_used(lost, len(rounds))}; each stands with its reason below."] if lost else []
    return (*unlike(run), *left_out)


def unlike(run: RunRecord) -> tuple[str, ...]:
    """Return what the sides were not given alike: first on purpose, then as allowed by name."""
    purposes = [
        banners.not_alike(asymmetry) for asymmetry in run.fairness.asymmetries if asymmetry.on_purpose
    ]
    lines = [f"Differs on purpose: {', '.join(purposes)}."] if purposes else []
    lines += [
        f"Not alike, allowed by name: {banners.not_alike(asymmetry)}."
        for asymmetry in run.fairness.asymmetries
        if asymmetry.allowed and not asymmetry.on_purpose
    ]
    return tuple(map(fmt.one_line, lines))


def _result(run: RunRecord) -> str:
    primary = pick.primary(run)
    if not primary:
        return "This run holds no comparison."
    reasons = {undecided(comparison) for comparison in primary}
    shared = reasons.pop() if len(reasons) == 1 and len(primary) > 1 else ""
    lead = _lead(run, primary)
    about = _briefly if lead else _about
    sentences = [
        about(run, comparison, "" if shared else undecided(comparison)) for comparison in primary[:MOST_SAID]
    ]
    more = len(primary) - len(sentences)
    rest = [f"{fmt.plural(more, 'more comparison')} of this kind: see the table of verdicts."] if more else []
    return " ".join([*lead, *sentences, *([f"{_upper(shared)}."] if shared else []), *rest])


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def _lead(run: RunRecord, primary: list[ComparisonRecord]) -> list[str]:
    """Lead with one sentence over all loads, where several of one pair were measured."""
    if (
        len(primary) == 1
        or len({(comparison.candidate, comparison.baseline, comparison.metric) for comparison in primary}) > 1
    ):
        return []
    ours, theirs = (pick.display_name(run, name) for name in (primary[0].candidate, primary[0].baseline))
    words = {comparison.verdict for comparison in primary}
    called = words & {"better", "worse"}
    if len(called) == 1:
        first, second = (ours, theirs) if called == {"better"} else (theirs, ours)
        count = sum(comparison.verdict in called for comparison in primary)
        where = "every load measured" if words == called else f"{count} of {len(primary)} loads"
        return [f"{first} {_faster(primary[0])} {second} under {where}."]
    if called:
        return ["The answer depends on the load."]
    if words == {"equivalent"}:
        return [f"{ours} and {theirs} {_even(primary[0])} under every load measured."]
    return [f"Between {ours} and {theirs} nothing is decided."]


def _faster(comparison: ComparisonRecord) -> str:
    return FASTER.get(pick.metric_name(comparison.metric), "answers faster than")


def _even(comparison: ComparisonRecord) -> str:
    return EVEN.get(pick.metric_name(comparison.metric), "answer as fast")


def _about(run: RunRecord, comparison: ComparisonRecord, reason: str) -> str:
    """Describe one comparison: who is ahead, the ratio, what it rests on, and what follows."""
    ours, theirs = (pick.display_name(run, name) for name in (comparison.candidate, comparison.baseline))
    leads = {
        "better": f"{ours} {_faster(comparison)} {theirs}",
        "worse": f"{theirs} {_faster(comparison)} {ours}",
        "equivalent": f"{ours} and {theirs} {_even(comparison)}, within {fmt.within(comparison.margin)}",
        "inconclusive": f"Not decided between {ours} and {theirs}",
        None: f"No verdict on {ours} and {theirs}",
    }
    ratio = f"{_ratio(run, comparison)}{f'; {reason}' if reason else ''}"
    return f"{leads[comparison.verdict]} under {comparison.load}: {ratio}."


def _briefly(run: RunRecord, comparison: ComparisonRecord, reason: str) -> str:
    """Shorten a result to stand below a sentence that names the sides."""
    words = {
        "equivalent": f"as fast within {fmt.within(comparison.margin)}, ",
        "inconclusive": "not decided, ",
        None: "no verdict, ",
    }
    word = words.get(comparison.verdict, "")
    ratio = f"{_ratio(run, comparison)}{f'; {reason}' if reason else ''}"
    return f"Under {comparison.load}{':' if word else ','} {word}{ratio}."


def _ratio(run: RunRecord, comparison: ComparisonRecord) -> str:
    ours, theirs = (pick.display_name(run, name) for name in (comparison.candidate, comparison.baseline))
    subject, ratio = f"{ours}'s {pick.metric_name(comparison.metric)}", pick.ratio_of(comparison)
    if ratio is None:
        return f"{subject} could not be set against {theirs}'s"
    return f"{subject} is {fmt.ratio(ratio)} times {theirs}'s ({_basis(comparison)})"


def _basis(comparison: ComparisonRecord) -> str:
    """Return what the ratio rests on: its interval, or how far single pairs lie apart."""
    if comparison.pairs_count == 1:
        return "one pair of rounds"
    blocks = fmt.plural(comparison.blocks_count, "block")
    counts = f"{fmt.plural(comparison.pairs_count, 'pair')} of rounds in {blocks}"
    if comparison.interval is not None:
        spans = [f"95{fmt.THIN}% interval {fmt.span(comparison.interval, fmt.ratio)}", *_judged(comparison)]
        return ", ".join([*spans, counts])
    if comparison.round_range is not None:
        return ", ".join(
            ["no interval", f"single pairs {fmt.span(comparison.round_range, fmt.ratio)}", counts]
        )
    return ", ".join(["no interval", counts])


def _judged(comparison: ComparisonRecord) -> list[str]:
    """Return the wider interval that left it undecided, where the 95 % interval does not show why."""
    if comparison.verdict != "inconclusive" or not judged_wider(comparison):
        return []
    assert comparison.verdict_interval and comparison.verdict_confidence  # noqa: S101 - judged_wider has looked
    span = fmt.span(comparison.verdict_interval, fmt.ratio)
    return [f"judged by {fmt.confidence(comparison.verdict_confidence)}: {span}"]


def _conditions(run: RunRecord) -> str:
    """Load, request, budget and machine, in one sentence."""
    parts = (*_loads(run), *_request(run), *_budget(run), *_machine(run))
    return f"{'; '.join(parts)}." if parts else ""


def _loads(run: RunRecord) -> list[str]:
    if run.slo is not None:
        return ["requests at random times (Poisson), ever more of them"]
    loads = [_load(load) for load in pick.loads(run)]
    listed = loads[:MOST_SAID]
    more = [fmt.plural(len(loads) - len(listed), "more load")] if len(loads) > len(listed) else []
    return [", then ".join([*listed, *more])] if loads else []


def _load(load: str) -> str:
    kind, _, figure = load.partition(":")
    if kind == "closed":
        return f"{figure} {'request' if figure == '1' else 'requests'} at a time ({load})"
    requests = "request" if figure == "1" else "requests"
    return f"{figure} {requests} per second at random times ({load})" if kind == "open" else load


def _request(run: RunRecord) -> list[str]:
    of_sides = [target.payload for target in pick.compared(run).values() if target.payload is not None]
    bodies = of_sides or ([run.payload] if run.payload is not None else [])
    if not bodies:
        return []
    rows = fmt.listed(list(dict.fromkeys(fmt.plural(body.rows, "row") for body in bodies)))
    low, high = min(body.body_bytes_min for body in bodies), max(body.body_bytes_max for body in bodies)
    size = fmt.exact_bytes(low) if low == high else f"{fmt.count(low)} to {fmt.exact_bytes(high)}"
    return [f"{_protocols(run)} requests of {rows} and {size}"]


def _protocols(run: RunRecord) -> str:
    return " and ".join(dict.fromkeys(map(_protocol, pick.compared(run).values())))


def _protocol(target: TargetRecord) -> str:
    name = target.implementation.protocol
    return {"rest": "REST", "grpc": "gRPC"}.get(name, name)


def _budget(run: RunRecord) -> list[str]:
    """Return the budget of sides that Tandem starts, each its own where they differ, and what is unknown."""
    sides = pick.compared(run)
    ours = {name: target for name, target in sides.items() if target.implementation.runner != "url"}
    others = [name for name in sides if name not in ours]
    unknown = [f"{fmt.listed(others)} on a budget that is not known"] if others else []
    budgets: dict[str, list[str]] = {}
    for name, target in ours.items():
        budgets.setdefault(_limits(target.given), []).append(name)
    everyone = len(budgets) == 1 and not others
    known = [
        f"{'each server' if everyone else fmt.listed(names)} on {budget}" for budget, names in budgets.items()
    ]
    return [*known, *unknown]


def _limits(budget: GivenRecord) -> str:
    cores = f"core{'' if len(budget.cores) == 1 else 's'} {fmt.numbers(budget.cores)}" if budget.cores else ""
    limits = [
        cores or "no cores of its own",
        *([f"the time of {_cores(budget.cpus)}"] if budget.cpus is not None else []),
        f"{fmt.size(budget.memory_limit_bytes)} of memory"
        if budget.memory_limit_bytes
        else "memory unlimited",
    ]
    return ", ".join(limits)


def _cores(count: float) -> str:
    return f"{count:g} core{'' if count == 1 else 's'}"


def _machine(run: RunRecord) -> list[str]:
    runners = _runners(run)
    words = {"local": "as local processes", "docker": "in containers", "url": "behind addresses of their own"}
    where = " and ".join(words.get(name, name) for name in runners)
    return [f"{where} {'as seen from' if 'url' in runners else 'on'} {run.environment.cpu_model}"]


def _runners(run: RunRecord) -> list[str]:
    return list(dict.fromkeys(target.implementation.runner for target in pick.compared(run).values()))


def _turns(run: RunRecord) -> str:
    """List trade-offs that go the other way or are open, what differs besides, then what was fixed."""
    leader = tradeoffs.leader(run)
    against, undecided_ones = tradeoffs.against(run, leader), tradeoffs.open_ones(run)
    clauses = []
    if against:
        other = "the other side is" if len(pick.compared(run)) == 2 else "another side is"  # noqa: PLR2004
        who = f"{other} ahead in" if leader else "the sides differ in"
        clauses.append(f"{who} {_some(against)}")
    if undecided_ones:
        clauses.append(f"who is ahead in {_some(undecided_ones)} is not decided")
    confounded = list(_confounded(run))
    if confounded:
        clauses.append(f"how much of the result comes from {fmt.listed(confounded)} is not known")
    clauses.append(f"perhaps {fmt.listed(list(_fixed(run)))}, which this run did not vary")
    return f"{_upper('; '.join(clauses))}."


def _some(trade_offs: list[str]) -> str:
    """List the first of several, and how many others there are: many sides make many pairs."""
    more = len(trade_offs) - MOST_SAID
    return fmt.listed([*trade_offs[:MOST_SAID], *([f"{more} more"] if more > 0 else [])])


def _rows(run: RunRecord) -> dict[str, int]:
    """Return the rows per request by side, as far as they are known."""
    payloads = {name: target.payload or run.payload for name, target in pick.compared(run).items()}
    return {name: payload.rows for name, payload in payloads.items() if payload is not None}


def _confounded(run: RunRecord) -> Iterator[str]:
    """Yield what the sides of different targets differ in besides; of one target it is what is compared."""
    sides = pick.compared(run)
    if len({target.target or name for name, target in sides.items()}) == 1:
        return
    rows = {name: fmt.plural(count, "row") for name, count in _rows(run).items()}
    batches = {name: batch for name, target in sides.items() if (batch := _batch(target))}
    named = (
        ("the protocol", {name: _protocol(target) for name, target in sides.items()}),
        ("the rows per request", rows),
        ("batching", batches if len(batches) == len(sides) else {}),
    )
    for what, by_side in named:
        if len(set(by_side.values())) > 1:
            yield f"{what} ({', '.join(f'{name} {value}' for name, value in by_side.items())})"


def _batch(target: TargetRecord) -> str | None:
    """Return how large batches may be; None where it is not known, or batches formed against the record."""
    size = target.given.batch_max_size
    if size != 1:
        return None if size is None else f"up to {size}"
    return None if any((record.requests_per_run or 1) > 1 for record in target.rounds) else "none"


def _fixed(run: RunRecord) -> Iterator[str]:
    sides = pick.compared(run)
    if len(set(map(_protocol, sides.values()))) == 1:
        yield f"another protocol than {_protocols(run)}"
    rows = set(_rows(run).values())
    if len(rows) == 1:
        yield f"more or fewer rows per request than {rows.pop()}" if rows != {1} else "more rows per request"
    yield from _fixed_batching(run)
    if not _is_judged(run, "cold_start_s"):
        yield "cold starts"
    yield "more cores"
    if not _is_judged(run, "peak_memory_bytes"):
        yield "what memory the servers take"
    yield _fixed_memory(run)
    if run.slo is None:
        yield "the price per request (tandem slo --hourly-price)"
    elif run.slo.hourly_price is None:
        yield "the price per request (--hourly-price)"


def _fixed_batching(run: RunRecord) -> Iterator[str]:
    sides = pick.compared(run)
    batches = {name: _batch(target) for name, target in sides.items()}
    unknown = [name for name, batch in batches.items() if batch is None]
    if unknown:
        yield f"batching (what batches {fmt.listed(unknown)} formed is not known)"
    elif set(batches.values()) == {"none"}:
        yield "batching (no server formed any)"
    elif len(set(batches.values())) == 1:
        (size,) = {target.given.batch_max_size for target in sides.values()}
        yield f"larger or smaller batches than {size}"
    else:
        listed = ", ".join(f"{name} {value}" for name, value in batches.items())
        yield f"other batches ({listed})"


def _fixed_memory(run: RunRecord) -> str:
    limits = {target.given.memory_limit_bytes for target in pick.compared(run).values()}
    return "a memory limit" if limits == {None} else "another memory limit"


def _is_judged(run: RunRecord, measure: Measure) -> bool:
    """Return whether it is said, decided or not, who is ahead in it; that stands in clauses of its own."""
    own = [off for off in run.trade_offs if off.measure == measure]
    return bool(own) and all(off.verdict is not None for off in own)


def _not_shown(run: RunRecord) -> str:
    """Return what a reader might take from the page though it says nothing about it."""
    topics = [*_substituted(run), *_unmeasured(run), "any other machine"]
    return f"{_upper(fmt.listed(topics))}."


def _substituted(run: RunRecord) -> Iterator[str]:
    yield from dict.fromkeys(
        f"how fast {banners.product_of(name, target)} is ({target.implementation.name} answered)"
        for name, target in pick.stand_ins(run).items()
    )


def _unmeasured(run: RunRecord) -> Iterator[str]:
    compared = pick.compared(run).values()
    if all(target.implementation.image is None for target in compared):
        yield "container images and their cold starts"
    if all(target.memory.peak_bytes is None for target in compared):
        yield "memory"
    if all(target.endpoint_parity is None or target.endpoint_parity.accuracy is None for target in compared):
        yield "accuracy (no labels, or no classes)"
    if not run.controls and run.slo is None:
        yield "how far this machine differs from itself (no A/A control)"
    if run.slo is None:
        yield "the highest rate within a latency limit (tandem slo)"
    elif requests_count := confirming_requests_count(run):
        yield (
            f"what a server does less often than every {fmt.count(requests_count)} requests, such as "
            "packing its logs (no rate was confirmed by fewer)"
        )
