"""The roads by name, and which of them a target may take, in their order."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from models.spec import ModelSpec
from pipelines.environments.known import LITERT, ONNX2TF, TORCHAX, Environment
from pipelines.errors import RequestError, unknown

TWIN, AUTO = "twin", "auto"
KERAS = "keras"
"""What a record says where Keras is the source itself and has no twin; also its distribution's name."""


@dataclass(frozen=True)
class Road:
    """One way from PyTorch to a SavedModel or to TensorFlow Lite.

    Attributes:
        name: as people type it.
        title: its steps, for people.
        convert: "module:function" (model, digest, folder, progress), run in `environment`.
        environment: where its tools are.
        from_onnx: whether it is given an ONNX file and the signature, and never sees the model itself.
        tools: distributions whose versions are told; the environment's lock has them.
        limit_s: a conversion that is not done by then is taken for hung.
    """

    name: str
    title: str
    convert: str
    environment: Environment
    tools: tuple[str, ...]
    from_onnx: bool = False
    limit_s: float = 900.0

    @property
    def versions(self) -> dict[str, str]:
        """Name → version of its tools.

        Raises:
            MachineError: the lock, or what is shared with it, is not there.
        """
        versions = self.environment.versions
        return {name: versions[name] for name in self.tools}


BY_TORCHAX = Road(
    "torchax",
    "torch.export, torchax, JAX: one XlaCallModule",
    "pipelines.roads.by_torchax:convert",
    TORCHAX,
    ("torch", "torchax", "jax", "jaxlib"),
)
BY_ONNX2TF = Road(
    "onnx2tf",
    "ONNX, onnx2tf: TensorFlow's own operations",
    "pipelines.roads.by_onnx2tf:convert",
    ONNX2TF,
    ("onnx2tf", "onnx", "tensorflow-cpu"),
    from_onnx=True,
)
BY_LITERT = Road(
    "litert",
    "torch.export, litert-torch, for a batch of one",
    "pipelines.roads.by_litert:convert",
    LITERT,
    ("torch", "litert-torch", "litert-converter", "ai-edge-quantizer", "jax"),
)
FOR_ONNX = ("torch", "onnx")
"""What the ONNX file is written with that a road `from_onnx` is given."""
TO_SAVED_MODEL = {road.name: road for road in (BY_TORCHAX, BY_ONNX2TF)}
TO_LITE = {road.name: road for road in (BY_LITERT, BY_ONNX2TF)}
ALL = {road.name: road for road in (BY_TORCHAX, BY_LITERT, BY_ONNX2TF)}
ROADS = (TWIN, *ALL)


@dataclass(frozen=True)
class Asked:
    """What an exporter is asked for beside the spec: the model as it was named, and a road if forced."""

    model: str
    road: str | None = None


def require_road(name: str | None) -> None:
    """Raise RequestError unless there is such a road."""
    if name not in (None, AUTO, *ROADS):
        raise unknown("road", str(name), (AUTO, *ROADS))


def chosen(spec: ModelSpec, names: Sequence[str], forced: str | None) -> tuple[str, ...]:
    """Return the roads to try, in order: the forced one if it is among `names`; a twin alone if there is one.

    Raises:
        RequestError: a twin is forced, and the model has none.
    """
    if forced == TWIN and spec.build_keras is None:
        raise RequestError(
            f"--road {TWIN} is asked for, and {spec.name} has no Keras twin; give its ModelSpec a "
            f"build_keras, or allow another road: {', '.join(name for name in names if name != TWIN)}"
        )
    if forced is not None and forced in names:
        return (forced,)
    return (TWIN,) if spec.build_keras is not None else tuple(name for name in names if name != TWIN)


def shared_tools(names: Sequence[str]) -> tuple[str, ...]:
    """List the distributions of ours, in no road's lock, that decide what a road without a twin writes."""
    roads = [ALL[name] for name in names if name in ALL]
    shared = {tool for road in roads for tool in road.environment.shares}
    return tuple(sorted(shared.union(*(FOR_ONNX for road in roads if road.from_onnx))))


def sources(names: Sequence[str]) -> list[Path]:
    """List the files that decide what a road without a twin writes: ours, and the locks."""
    roads = [ALL[name] for name in names if name in ALL]
    locks = dict.fromkeys(road.environment.lock for road in roads)
    return [*sorted(Path(__file__).parent.glob("*.py")), *locks]
