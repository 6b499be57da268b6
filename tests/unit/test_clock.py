"""The wall clock may be set while we measure: it dates records, and nothing is measured or decided by it."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
# What shows a date or an age: an answer's header, and how old the runs on this disk are.
DATING = {"pipelines/targets/tfserving/embedded/http_server.py", "pipelines/history/runs.py"}
FILES = [
    path
    for package in ("loadtests", "models", "pipelines")
    for path in sorted((ROOT / package).rglob("*.py"))
    if str(path.relative_to(ROOT)) not in DATING
]


def wall_readings(tree: ast.AST) -> set[str]:
    """Functions of the wall clock that are called, or taken, by their names."""
    names = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    return names & {"time.time", "time.time_ns", "datetime.utcnow", "datetime.today"}


def differences(tree: ast.AST) -> list[str]:
    """Subtractions of what `datetime.now` said."""
    found = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.BinOp)]
    return [one for one in found if " - " in one and "datetime.now" in one]


def test_no_length_of_time_is_read_from_the_wall_clock():
    found = {}
    for path in FILES:
        text = path.read_text()
        if "time.time" in text or "datetime." in text:
            tree = ast.parse(text)
            found[str(path)] = [*wall_readings(tree), *differences(tree)]
    assert len(found) > 3
    assert {path: read for path, read in found.items() if read} == {}
