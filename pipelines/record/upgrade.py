"""Reads run.json of older schema versions: turns it into the form of the present one, before it is validated.

What is not in the form of its own version is left as it is, for the validation to find.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

Fields = dict[str, Any]


def upgraded(run: Fields) -> Fields:
    """Turn version 1 into version 2: a sentence becomes the reason `text`, or a code that the record has.

    Changes `run` itself.
    """
    for entry in _each(run, "targets", "rounds"):
        _change(entry, "invalid_reasons", partial(_of_round, entry))
    for entry in _each(run, "comparisons"):
        code = entry.pop("reason_code", None) or "text"
        _change(entry, "reason", partial(_text, code=code))
    slo = run.get("slo")
    for entry in (*_objects(slo), *_each(slo, "targets"), *_each(slo, "targets", "blocks")):
        _change(entry, "reason", _text)
    for entry in _each(slo, "targets", "points"):
        entry["reasons"] = [_text(entry["reason"])] if entry.get("reason") else []
        entry.pop("reason", None)
    stand_ins = _stand_ins(run)
    _change(run, "warnings", lambda warnings: [_warning(warning, stand_ins) for warning in warnings])
    return run | {"schema_version": 2}


def _change(fields: Fields, field: str, change: Callable[[Any], Any]) -> None:
    """Change a field that has something in it, where that has the form it should have."""
    if fields.get(field):
        try:
            fields[field] = change(fields[field])
        except (AttributeError, KeyError, TypeError):
            return


def _each(parent: Any, *path: str) -> Iterator[Fields]:
    """Yield the objects below `parent` along the path, through lists and objects by name."""
    if not path:
        yield from _objects(parent)
        return
    for holder in _objects(parent):
        below = holder.get(path[0])
        named = path[0] == "targets"
        for part in below.values() if named and isinstance(below, dict) else [below]:
            parts = part if isinstance(part, list) else [part]
            for each in parts:
                yield from _each(each, *path[1:])


def _objects(value: Any) -> list[Fields]:
    return [value] if isinstance(value, dict) else []


def _text(text: str, code: str = "text", **figures: str) -> Fields:
    return {"code": code, "figures": {"text": text, **figures}}


def _of_round(fields: Fields, texts: list[str]) -> list[Fields]:
    """Add the only failed check, if there is only one: it tells which sentences are alike."""
    checks = fields.get("failed_checks") or []
    named = {"check": checks[0]} if len(checks) == 1 else {}
    return [_text(text, **named) for text in texts]


def _warning(fields: Fields, stand_ins: dict[str, Fields]) -> Fields:
    figures = stand_ins.get(fields["message"])
    if figures is not None:
        return {"code": "stand_in", "figures": figures}
    remedy = {"remedy": fields["remedy"]} if fields.get("remedy") else {}
    return _text(fields["message"], **remedy)


def _stand_ins(run: Fields) -> dict[str, Fields]:
    """Return figures by the sentence in which version 1 said that a fallback answered."""
    by_sentence = {}
    targets = run.get("targets")
    for name, target in (targets if isinstance(targets, dict) else {}).items():
        for it in _each(target, "implementation"):
            fields = {"implementation": it.get("name"), "version": it.get("version"), "note": it.get("note")}
            text = "{target} was answered by {implementation} {version}: {note}"
            figures = {key: str(value) for key, value in fields.items()} | {"target": name}
            by_sentence[text.format(**figures)] = figures
    return by_sentence
