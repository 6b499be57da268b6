"""`--output FORMAT=FILE`: which formats there are, reading what was asked for, and writing it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipelines.errors import RequestError, unknown
from pipelines.files.atomic import write_atomically
from pipelines.outputs import bencher, benchmark_action, junit, markdown, openmetrics
from pipelines.outputs.facts import Facts

FORMATS: Mapping[str, Callable[[Facts], str]] = {
    "junit": junit.render,
    "markdown": markdown.render,
    "bencher": bencher.render,
    "benchmark-smaller": benchmark_action.smaller,
    "benchmark-bigger": benchmark_action.bigger,
    "openmetrics": openmetrics.render,
}


@dataclass(frozen=True)
class Output:
    """A file that --output names."""

    name: str
    path: Path


def asked_outputs(texts: Iterable[str]) -> tuple[Output, ...]:
    """Parse the outputs that were asked for, before any work is done.

    Raises:
        RequestError: an unknown format, no file name, a folder's name, or one file twice.
    """
    outputs = tuple(map(_read, texts))
    twice = next(
        (output for place, output in enumerate(outputs) if output.path in {x.path for x in outputs[:place]}),
        None,
    )
    if twice:
        raise RequestError(f"--output names {str(twice.path)!r} twice; each output needs a file of its own")
    return outputs


def _read(text: str) -> Output:
    name, equals, path = text.partition("=")
    if name not in FORMATS:
        raise unknown("output format", name[:80], FORMATS, where="--output: ")
    if not equals or not path:
        raise RequestError(f"--output is {text[:80]!r}; say the file too, such as {name}=result.txt")
    if Path(path).is_dir():
        raise RequestError(f"--output: {path!r} is a folder; name a file in it, such as {path}/{name}.txt")
    return Output(name, Path(path))


def write_outputs(outputs: Iterable[Output], facts: Facts) -> None:
    """Write every file that was asked for, each in one step.

    Raises:
        MachineError: the disk refused.
    """
    for output in outputs:
        write_atomically(output.path, FORMATS[output.name](facts))
