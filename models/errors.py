"""What is wrong with a model. A module of its own, so that what a spec is checked with can raise it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple


class Place(NamedTuple):
    """A line of a source file, from 1."""

    file: str
    line: int


class ModelError(ValueError):
    """A model is unknown, says something impossible, or its checkpoint does not fit it.

    Attributes:
        part: the argument of the spec that it is about; None where that is not known.
        place: the line of code that it is about; None where that is not known.
        unplaced: the message without the place.
    """

    part: str | None = None
    place: Place | None = None
    unplaced: str | None = None


@contextmanager
def about(part: str) -> Iterator[None]:
    """Say of whatever ModelError is raised inside that it is about this argument of the spec."""
    try:
        yield
    except ModelError as error:
        error.part = error.part or part
        raise


def placed(before: str, place: Place | None, after: str) -> ModelError:
    """Return an error whose message names the line of code, if there is one, between two texts."""
    error = ModelError(f"{before}{f' at {place.file}:{place.line}' if place else ''}{after}")
    error.place, error.unplaced = place, before + after
    return error
