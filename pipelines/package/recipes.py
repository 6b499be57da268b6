"""What goes into each image: its build context, its labels, and the reference that names all of it."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from models.spec import ModelSpec, Tolerance
from models.tensors import Array, is_text, sample
from pipelines.artifacts.contents import artifact_files
from pipelines.artifacts.manifest import Manifest
from pipelines.errors import RequestError
from pipelines.package.image import REPOSITORY
from pipelines.package.settings import Settings
from pipelines.package.wheels import ROOT, share
from pipelines.parity.quality import Expectations
from pipelines.targets.contained import CONTAINED
from pipelines.targets.image import Question, ServerImage
from pipelines.targets.presets import Preset
from pipelines.targets.registry import COMPARED

DOCKER = ROOT / "docker"
LOCUST = "locust"
IMAGES = {image.key: (target, image) for target, each in CONTAINED.items() for image in each.images}
SERVER_KEYS = tuple(key for key, (_, image) in IMAGES.items() if not image.on_request)
KEYS = (*SERVER_KEYS, LOCUST)
ALLOWED = (*KEYS, *(key for key in IMAGES if key not in SERVER_KEYS))
# Any other takes minutes and half a gigabyte of its own.
USUAL_KEYS = (*(key for key in SERVER_KEYS if IMAGES[key][0] in COMPARED), LOCUST)
TARGETS = tuple(CONTAINED)  # whose artifacts those serve
REFERENCE_DIGITS = 12
# PyTorch's files are trimmed in a stage that all images with them have alike.
TORCH_TRIM = "stages/trim-torch.txt"
TORCH_FOLDER = "torch/"
Content = bytes | Path


@dataclass(frozen=True)
class ModelParts:
    """One exported and verified model: what the server images bake in."""

    spec: ModelSpec
    folder: Path
    manifests: Mapping[str, Manifest]
    expected: Expectations


@dataclass(frozen=True)
class Recipe:
    """One image, before it is built.

    Attributes:
        key, target: as in `Image`.
        name: repository and the readable part of the tag.
        files: the build context but for the wheels, by path.
        pins: name → version of the wheels it takes; empty if it takes none.
        arguments: of the build.
        labels: for the image.
        proven: SHA-256 of those files, by path in the context, that were verified: nothing else is packed.
        known_as: its reference, if that names more than is in here.
    """

    key: str
    target: str
    name: str
    files: Mapping[str, Content]
    labels: Mapping[str, str]
    pins: Mapping[str, str] = field(default_factory=dict)
    arguments: Mapping[str, str] = field(default_factory=dict)
    proven: Mapping[str, str] = field(default_factory=dict)
    known_as: str | None = None

    @property
    def reference(self) -> str:
        """Changes with every input of the build."""
        if self.known_as is not None:
            return self.known_as
        inputs = {
            "files": {name: _sha256(content) for name, content in self.files.items()},
            "pins": dict(self.pins),
            "arguments": dict(self.arguments),
            "labels": dict(self.labels),
        }
        digest = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()
        return f"{self.name}{digest[:REFERENCE_DIGITS]}"


def content_bytes(content: Content) -> bytes:
    """Return a file of a build context, read from the disk where it lies there."""
    return content if isinstance(content, bytes) else content.read_bytes()


def _sha256(content: Content) -> str:
    return hashlib.sha256(content_bytes(content)).hexdigest()


def make_recipe(key: str, parts: ModelParts | None, settings: Settings) -> Recipe:
    """Make the recipe called `key`; server images need the model's parts."""
    if key == LOCUST:
        return _locust()
    if parts is None:
        raise ValueError(f"the image {key} needs a model")
    return _server(*IMAGES[key], parts, settings)


def _server(target: str, image: ServerImage, parts: ModelParts, settings: Settings) -> Recipe:
    spec = parts.spec
    artifact = next(a for a in parts.manifests[target].artifacts if a.format == image.artifact_format)
    pins = share(image.locks, image.without)
    versions = {**image.versions, **{name: pins[name] for name in image.versions_of if name in pins}}
    implementation, arguments = image.implementation, {"MODEL": spec.name}
    if image.vendor:
        base = settings.tfserving_base
        implementation, arguments["TFSERVING_BASE"] = f"{implementation} {base}", base
        versions[image.vendor] = base.rpartition(":")[2]
    if image.imports:
        arguments["MODULES"] = ",".join(image.imports)
    files = {
        **_build_files(image.key, image.trim),
        **_served_files(target, image, parts, artifact.path),
        **_health(parts, image.question),
    }
    return Recipe(
        key=image.key,
        target=target,
        name=f"{REPOSITORY}/{image.key}:{spec.name.lower()}-",
        files=files,
        labels={
            **_common_labels(target, f"{spec.name} served by {implementation}", implementation, versions),
            "io.tandem.model": spec.name,
            "io.tandem.model.digest": spec.digest,
            "io.tandem.artifact.sha256": artifact.sha256,
        },
        pins=pins,
        arguments=arguments,
        proven=_proven(parts, target, files),
    )


def _build_files(key: str, trim: Sequence[str]) -> dict[str, Content]:
    """Return the Dockerfile, and what the stages read that only build."""
    files: dict[str, Content] = {"Dockerfile": dockerfile(key)}
    if "probe" in _stages(key):
        files["healthcheck/tandem-probe.c"] = DOCKER / "healthcheck" / "tandem-probe.c"
    if {"wheels", "torch"} & set(_stages(key)):
        own = [name for name in trim if name != TORCH_TRIM]
        files |= {"install.sh": DOCKER / "stages" / "install.sh", "trim.txt": _joined(*own)}
    if "torch" in _stages(key):
        files[f"{TORCH_FOLDER}trim.txt"] = DOCKER / TORCH_TRIM
    return files


def dockerfile(key: str) -> bytes:
    """Return the whole Dockerfile of an image: without BuildKit none includes another."""
    if key in IMAGES and (whole := IMAGES[key][1].dockerfile):
        return _joined(whole)
    last = ("stages/model.Dockerfile",) if key in IMAGES else ()
    return _joined(*(f"stages/{stage}.Dockerfile" for stage in _stages(key)), f"{key}/Dockerfile", *last)


def _stages(key: str) -> tuple[str, ...]:
    """Name the stages in docker/stages that come before an image's own."""
    if key == LOCUST:
        return ("python", "wheels")
    image = IMAGES[key][1]
    if image.dockerfile:
        return ()
    packages = "torch" if TORCH_TRIM in image.trim else "wheels"
    return ("python", "probe", packages) if image.imports else ("python", "probe")


def _joined(*names: str) -> bytes:
    return b"\n".join((DOCKER / name).read_bytes() for name in names)


def _served_files(target: str, image: ServerImage, parts: ModelParts, path: str) -> dict[str, Content]:
    """Return what is in the image beside its packages, with the vendor's defaults as its configuration."""
    folder = parts.folder / target
    defaults = Preset().settings_of(target).files(parts.spec)
    return {
        "entrypoint.sh": DOCKER / target / "entrypoint.sh",
        **{f"etc/{name}": DOCKER / target / name for name in image.settings},
        **{f"etc/server/{name}": text.encode() for name, text in defaults.items()},
        **{f"app/{name}": source for name, source in image.app.items()},
        **{f"models/{file.relative_to(folder).as_posix()}": file for file in artifact_files(folder / path)},
    }


# Locust's own tests, which it declares as if they were needed.
LOCUST_WITHOUT = ("iniconfig", "packaging", "pluggy", "pygments", "pytest")


def _locust() -> Recipe:
    pins = share(["load"], LOCUST_WITHOUT)
    sources = sorted((ROOT / "loadtests").rglob("*.py"))
    versions = {name: pins[name] for name in ("locust", "gevent", "numpy", "pyarrow")}
    return Recipe(
        key=LOCUST,
        target=LOCUST,
        name=f"{REPOSITORY}/{LOCUST}:",
        files={
            **_build_files(LOCUST, [f"{LOCUST}/trim.txt"]),
            **{f"app/{path.relative_to(ROOT).as_posix()}": path for path in sources},
        },
        labels=_common_labels(LOCUST, "Tandem load generator", LOCUST, versions),
        pins=pins,
        arguments={"MODULES": "locust.main,locust.web,numpy,pyarrow.parquet"},
    )


def _proven(parts: ModelParts, target: str, files: Mapping[str, Content]) -> dict[str, str]:
    """Return the digests in the manifest of those `files` that are the target's artifacts."""
    folder, digests = parts.folder / target, parts.manifests[target].files
    return {
        name: digests[content.relative_to(folder).as_posix()]
        for name, content in files.items()
        if isinstance(content, Path) and content.is_relative_to(folder)
    }


def _common_labels(
    target: str, title: str, implementation: str, versions: Mapping[str, str]
) -> dict[str, str]:
    version = metadata.version("tandem-serving")
    return {
        "org.opencontainers.image.title": title,
        "org.opencontainers.image.version": version,
        "org.opencontainers.image.licenses": "Apache-2.0",
        "org.opencontainers.image.description": "One trained model behind one server, made by Tandem",
        "io.tandem.target": target,
        "io.tandem.implementation": implementation,
        "io.tandem.versions": json.dumps(dict(versions), sort_keys=True),
    }


def _health(parts: ModelParts, question: Question) -> dict[str, Content]:
    """Make the health check's files: the first held-out sample as an HTTP request, and the right answer.

    The probe reads numbers, so outputs of strings are left to others.

    Raises:
        RequestError: all outputs are strings.
    """
    body = question.encode([sample(parts.spec.samples().named, 0)])
    head = (
        f"POST {question.path.format(model=parts.spec.name)} HTTP/1.0\r\nHost: localhost\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    answer = sample(parts.expected.tensors, 0)
    lines = [
        _expected(question.key_of(name, len(answer)), parts.spec.tolerance_of(name), array)
        for name, array in answer.items()
        if not is_text(array)
    ]
    if not lines:
        raise RequestError(
            f"{parts.spec.name} gives strings alone, and the health check of an image reads numbers; "
            "add an output of numbers, or serve it without a container (--runner local)"
        )
    return {
        "etc/health/request.http": head.encode() + body,
        "etc/health/expected.txt": "".join(lines).encode(),
    }


def _expected(key: str, tolerance: Tolerance, array: Array) -> str:
    """Write one output as the probe reads it: key, tolerances and number of values, then the values."""
    values = " ".join(map(json.dumps, array.ravel().tolist()))
    return f"{key} {tolerance.absolute!r} {tolerance.relative!r} {array.size}\n{values}\n"
