"""The page of claims as Markdown, and the same for programs: made of runs, with no figure typed in."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipelines.claims.findings import Finding
from pipelines.claims.stage import Answer, Judged, Tested
from pipelines.console import format as fmt
from pipelines.console.text import escaped
from pipelines.record.run import RunRecord

HEAD = """# Claims, tested

What articles on PyTorch and TensorFlow repeat, each with the command that tests it and what its run says. The
page is written by `make claims` from the runs in `docs/claims`, a folder per condition; nothing is typed in.

A claim holds, or does not, by the verdicts of the runs: the 95 % interval outside the margin and beyond the
machine's noise floor ([statistics](statistics.md)). Sizes are counted, and a difference within 5 % is none.
`not measured` is a condition without a run, `undecided` one whose run gives no verdict, `it depends` what
holds here and not there. A side that another server answered than the product it is named after says which.
`tandem claims --measure --runs DIR --page FILE` makes it for another machine.
"""
NOTHING = "None of the conditions has been measured on a named machine yet."
NOWHERE = "The answer turns under none of the conditions that were measured and decided."
ALONE = "Whether it turns is not known: no condition was decided."
FIRST_OPEN = "Its first condition, the one that is meant, was not decided; this is what the others say."


def render(claims: Sequence[Judged]) -> str:
    """Render the whole page: the same runs give the same text."""
    machines = _machines(claims)
    parts = [HEAD.rstrip("\n"), *_about_machines(machines), _overview(claims)]
    for judged in claims:
        parts += [f"## {judged.claim.text}", *_section(judged, machines)]
    return "\n\n".join(parts) + "\n"


def _machines(claims: Sequence[Judged]) -> dict[str, str]:
    """Assign a number to each machine that runs were measured on."""
    runs = [tested.run for claim in claims for tested in claim.tested if tested.run is not None]
    names = dict.fromkeys(map(machine_of, runs))
    return {name: str(number) for number, name in enumerate(names, start=1)}


def machine_of(run: RunRecord) -> str:
    """Describe a run's machine in one line."""
    it = run.environment
    return fmt.one_line(
        f"{it.cpu_model}, {fmt.plural(it.cores_count, 'core')}, {fmt.size(it.memory_bytes)}, {it.os}"
    )


def _about_machines(machines: dict[str, str]) -> list[str]:
    if not machines:
        return [f"**{NOTHING}**"]
    return ["\n".join(f"- Machine {number}: {escaped(name)}" for name, number in machines.items())]


def _overview(claims: Sequence[Judged]) -> str:
    rows = [f"| {escaped(judged.claim.text)} | {judged.state} | {_main(judged)} |" for judged in claims]
    return "\n".join(["| claim | verdict | first condition |", "|---|---|---|", *rows])


def _main(judged: Judged) -> str:
    if judged.main is None:
        return fmt.MISSING
    return escaped(
        "; ".join([told(judged.main.finding), *_answered(stand_ins(judged.tested[0], judged.main))])
    )


def _section(judged: Judged, machines: dict[str, str]) -> Iterator[str]:
    yield f"Verdict: **{judged.state}**. {escaped(_turns(judged))}"
    head = [
        "| condition | what | verdict | figure and 95 % interval | machine, date |",
        "|---|---|---|---|---|",
    ]
    yield "\n".join([*head, *(row for tested in judged.tested for row in _rows(tested, machines))])
    commands = [
        f"tandem {shlex.join(words)}"
        for tested in judged.tested
        for words in (*tested.condition.before, tested.condition.command)
    ]
    yield "\n".join(["```bash", *dict.fromkeys(commands), "```"])


def _turns(judged: Judged) -> str:
    if judged.main is None:
        return FIRST_OPEN if judged.is_decided else ALONE
    if not judged.turns:
        return NOWHERE
    told_ = [
        f"{condition.title}, {answer.finding.what}: {answer.state}" for condition, answer in judged.turns
    ]
    return f"Where the answer turns: {'; '.join(told_)}."


def _rows(tested: Tested, machines: dict[str, str]) -> Iterator[str]:
    title = escaped(tested.condition.title)
    if not tested.answers:
        state = f"not measured ({escaped(tested.why)})" if tested.why else "not measured"
        yield f"| {title} | {fmt.MISSING} | {state} | {fmt.MISSING} | {fmt.MISSING} |"
    assert tested.run is not None or not tested.answers  # noqa: S101 - answers are of a run
    for answer in tested.answers:
        where = f"{machines[machine_of(tested.run)]}, {tested.run.started_at_utc[:10]}" if tested.run else ""
        finding = answer.finding
        by = stand_ins(tested, answer)
        sides = [f"{side} ({by[side]})" if side in by else side for side in finding.sides]
        what = escaped(f"{finding.what}: {sides[0]} against {sides[1]}")
        yield f"| {title} | {what} | {answer.state} | {escaped(told(finding))} | {escaped(where)} |"


def stand_ins(tested: Tested, answer: Answer) -> dict[str, str]:
    """Return what answered, by the side of an answer that is not the product it is named after."""
    targets = tested.run.targets if tested.run else {}
    return {
        side: targets[side].implementation.name
        for side in answer.finding.sides
        if not answer.finding.exact and side in targets and targets[side].implementation.stand_in
    }


def verdict_line(judged: Judged) -> str:
    """Say a claim's verdict in one line, with what answered in place of products."""
    answered: dict[str, str] = {}
    for tested in judged.tested:
        for answer in tested.answers:
            answered |= stand_ins(tested, answer)
    by = "; ".join(_answered(answered))
    return f"{judged.claim.text}: {judged.state}" + (f" ({by})" if by else "")


def _answered(by_side: Mapping[str, str]) -> list[str]:
    return [f"{side} answered by {name}" for side, name in by_side.items()]


def told(finding: Finding) -> str:
    """Format the figure of a finding with its interval."""
    if finding.value is None:
        return fmt.MISSING
    show = fmt.in_points if finding.kind == "difference" else fmt.ratio
    if finding.exact:
        return f"{show(finding.value)}, counted"
    return (
        f"{show(finding.value)} ({fmt.span(finding.interval, show)})"
        if finding.interval
        else show(finding.value)
    )


def facts(claims: Sequence[Judged]) -> list[dict[str, Any]]:
    """Return the same claims for programs, with every digit."""
    return [
        {
            "claim": judged.claim.text,
            "state": judged.state,
            "conditions": [_of_tested(tested) for tested in judged.tested],
        }
        for judged in claims
    ]


def _of_tested(tested: Tested) -> dict[str, Any]:
    return {
        "key": tested.condition.key,
        "title": tested.condition.title,
        "command": ["tandem", *tested.condition.command],
        "run_id": tested.run.run_id if tested.run else None,
        "machine": machine_of(tested.run) if tested.run else None,
        "why_not": tested.why,
        "answers": [
            {**_of_answer(answer), "stand_ins": stand_ins(tested, answer)} for answer in tested.answers
        ],
    }


def _of_answer(answer: Answer) -> dict[str, Any]:
    return {"state": answer.state, **vars(answer.finding)}
