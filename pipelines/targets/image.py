"""What a target's container.py says of an image: what it holds, what it runs, how its health is asked."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from loadtests.codecs import json_rows, oip_json
from models.tensors import Array
from pipelines.targets.protocols import OIP_PATH


def _rows_key(name: str, outputs_count: int) -> str:
    return f"predictions>{name}" if outputs_count > 1 else "predictions"


@dataclass(frozen=True)
class Question:
    """One sample as the health check asks it over HTTP.

    Attributes:
        path: with `{model}`.
        encode: samples as a body of JSON.
        key_of: given an output and how many there are, the key in front of its values in the answer.
    """

    path: str
    encode: Callable[[Sequence[Mapping[str, Array]]], bytes] = json_rows.encode
    key_of: Callable[[str, int], str] = _rows_key


OIP_QUESTION = Question(OIP_PATH, oip_json.encode, lambda name, _: f"outputs>{name}>data")


@dataclass(frozen=True)
class ServerImage:
    """One image of a target, apart from the model in it.

    Attributes:
        key: of the image (`tandem images --only KEY`), and its folder's name in docker/.
        artifact_format: what it serves.
        implementation: what answers, for its label.
        question: that its health check asks.
        locks: names of the files in requirements/ whose pins it takes.
        without: those of their pins that it does not run.
        versions_of: pins that its label tells the versions of.
        versions: others that its label tells.
        imports: modules that have to import once the wheels are installed and trimmed.
        trim: files in docker/ that say what to leave out of the wheels.
        settings: files of docker/TARGET that go to /etc/tandem.
        app: our own modules in it, by path below /opt/app.
        vendor: the product whose own image it starts from; its label has the tag as the version.
        dockerfile: a whole one in docker/, in place of the common stages and docker/KEY/Dockerfile.
        on_request: only built when asked for by name.
    """

    key: str
    artifact_format: str
    implementation: str
    question: Question
    locks: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    versions_of: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    imports: tuple[str, ...] = ()
    trim: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    app: Mapping[str, Path] = field(default_factory=dict)
    vendor: str | None = None
    dockerfile: str | None = None
    on_request: bool = False
