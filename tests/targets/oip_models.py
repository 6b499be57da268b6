"""The models that the real servers of the Open Inference Protocol are asked about.

`several` is served as Tandem plans it, `echo` and `half` give back every numeric datatype through the same
runtimes. Models without PyTorch are beside them: `told` answers which parameters arrived, `texts` gives back
BYTES. In Triton `texts` is never run: the Python backend that nvidia-pytriton brings cannot read BYTES with
NumPy 2. `late` is laid aside, and once it is asked for, it loads until the file `opened` is there.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from test_both_roads import INPUTS, SPEC

from loadtests.codecs.oip_json import DATATYPES
from pipelines.http import fetch
from pipelines.processes.group import wait_until
from pipelines.targets import oip_grpc
from pipelines.targets.mlserver.settings import MLServerSettings
from pipelines.targets.server_plan import ServerPlan
from pipelines.targets.torchserve.export import SIGNATURE_NAME, signature
from pipelines.targets.triton.settings import TritonSettings, config

ECHO, HALF, TOLD, TEXTS, LATE = "echo", "half", "told", "texts", "late"
OPENED, ASIDE = "opened", "aside"
WIDTH = 3


def _edges(dtype: str) -> list[Any]:
    """Return the smallest value, the largest, and one between."""
    if dtype == "bool":
        return [True, False, True]
    if dtype.startswith("float"):
        limits = np.finfo(dtype)
        return [float(limits.min), float(limits.max), 0.1]
    whole = np.iinfo(dtype)
    return [whole.min, whole.max, 7]


VALUES = {dtype: np.array([_edges(dtype)], dtype) for dtype in DATATYPES.values()}
"""What is asked of `echo`: for each dtype one row, its limits among it."""


def _spec(name: str, dtypes: list[str]) -> Any:
    """Describe a model whose outputs, `x_out`, are its inputs, `x`; a ModelSpec takes not all dtypes."""
    inputs, outputs = (
        tuple(SimpleNamespace(name=f"{one}{end}", dtype=one, shape=(None, WIDTH)) for one in dtypes)
        for end in ("", "_out")
    )
    return SimpleNamespace(name=name, inputs=inputs, outputs=outputs, labels=(), digest="none")


# Apart: where a server does not take FP16, it takes no request with it.
SPECS = {
    ECHO: _spec(ECHO, [dtype for dtype in VALUES if dtype != "float16"]),
    HALF: _spec(HALF, ["float16"]),
}


def write_several(folder: Path) -> None:
    """Write a TorchScript file of four inputs and three outputs, which holds its own signature."""
    import torch

    class Several(torch.nn.Module):
        def forward(self, image: Any, tokens: Any, pixel: Any, flag: Any) -> Any:
            total = image.sum((1, 2)) + tokens.sum(1).float() * 0.1
            light = pixel.to(torch.int32).sum(1).float() / 255
            return torch.stack([total, light], 1), (tokens * 2, (pixel > 127) & flag[:, None])

    examples = tuple(torch.from_numpy(np.stack([INPUTS[name][0]] * 2)) for name in INPUTS)
    _write(Several(), examples, SPEC, folder)


def write_echoes(folder: Path) -> None:
    """Write TorchScript files that give every tensor back."""
    import torch

    class Echo(torch.nn.Module):
        def forward(self, *tensors: Any) -> Any:
            return tuple(tensor.clone() for tensor in tensors)

    for spec in SPECS.values():
        examples = tuple(torch.from_numpy(VALUES[tensor.dtype]) for tensor in spec.inputs)
        _write(Echo(), examples, spec, folder)


def _write(module: Any, examples: tuple[Any, ...], spec: Any, folder: Path) -> None:
    import torch

    packed = {SIGNATURE_NAME: json.dumps(signature(spec))}
    torch.jit.save(torch.jit.trace(module, examples), folder / f"{spec.name}.pt", packed)


def add_models(plan: ServerPlan, work: Path, folder: Path) -> ServerPlan:
    """Lay the other models beside the planned one; the plan returned lets a model be loaded later."""
    return ADD[plan.target](plan, work, folder)


TRITON_TOLD = """
import torch
import triton_python_backend_utils as pb_utils
from torch.utils import dlpack

class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        given = torch.frombuffer(bytearray(request.parameters().encode()), dtype=torch.uint8)[None]
        return pb_utils.InferenceResponse([pb_utils.Tensor.from_dlpack("parameters", given)])
"""
TRITON_TEXTS = """
class TritonPythonModel:
    def execute(self, requests):
        raise NotImplementedError
"""
TRITON_LATE = """
import os, time

class TritonPythonModel:
    def initialize(self, args):
        while not os.path.exists(OPENED):
            time.sleep(0.02)
"""
MLSERVER_MODELS = """
import asyncio, json, os
from mlserver import MLModel
from mlserver.types import InferenceResponse, Parameters, ResponseOutput

class Own(MLModel):
    async def load(self):
        return True

    async def predict(self, payload):
        return InferenceResponse(
            model_name=self.name,
            model_version=self.version,
            parameters=Parameters(text="yes", count=2, right=True),
            outputs=[self.answer(payload)],
        )

class Texts(Own):
    def answer(self, payload):
        one = payload.inputs[0]
        texts = [text.encode() if isinstance(text, str) else text for text in one.data.root]
        return ResponseOutput(name="text_out", shape=one.shape, datatype="BYTES", data=texts)

class Told(Own):
    def answer(self, payload):
        given = payload.parameters.model_dump(exclude_unset=True) if payload.parameters else {}
        of_input = payload.inputs[0].parameters
        given["of input"] = of_input.model_dump(exclude_unset=True) if of_input else {}
        given.pop("headers", None)  # MLServer's own
        data = list(json.dumps(given).encode())
        return ResponseOutput(name="parameters", shape=[1, len(data)], datatype="UINT8", data=data)

class Late(MLModel):
    async def load(self):
        while not os.path.exists(OPENED):
            await asyncio.sleep(0.02)
        return True
"""


def _add_to_triton(plan: ServerPlan, work: Path, folder: Path) -> ServerPlan:
    models = work / "models"
    runtime = (models / SPEC.name / "1" / "model.py").read_text()
    late = f"OPENED = {str(work / OPENED)!r}\n{TRITON_LATE}"
    sources = {
        **{
            name: (config(spec, TritonSettings(torch_threads=1), str(folder / f"{name}.pt")), runtime)
            for name, spec in SPECS.items()
        },
        TOLD: (_own(TOLD, "x", "UINT8", "parameters"), TRITON_TOLD),
        TEXTS: (_own(TEXTS, "text", "STRING", "text_out"), TRITON_TEXTS),
        LATE: (_own(LATE, "x", "UINT8", "y"), late),
    }
    for name, (configuration, source) in sources.items():
        folder = (work / ASIDE if name == LATE else models) / name
        (folder / "1").mkdir(parents=True)
        (folder / "config.pbtxt").write_text(configuration)
        (folder / "1" / "model.py").write_text(source)
    argv = tuple(flag for flag in plan.launch.argv if not flag.startswith("--model-control-mode"))
    more = ("--model-control-mode=explicit", "--load-model=*")
    return replace(plan, launch=replace(plan.launch, argv=(*argv, *more)))


def load_late(server: Any, transport: str) -> None:
    """Have a server load `late`, asked over REST or gRPC; return once it has."""
    place = server.work / {"triton": "models", "mlserver": "mlserver"}[server.name] / LATE
    if not place.exists():
        (server.work / ASIDE / LATE).rename(place)
    url, body = {
        "REST": (f"{server.rest}/v2/repository/models/{LATE}/load", b"{}"),
        # Of RepositoryModelLoadRequest, which is of an extension, the field model_name.
        "gRPC": (f"{server.grpc}{oip_grpc.SERVICE}/RepositoryModelLoad", b"\x12\4" + LATE.encode()),
    }[transport]
    status, answer = fetch(url, body, timeout_s=60)
    assert status == 200, answer


def unload_late(server: Any) -> None:
    """Have a server unload `late`, if it is loaded; return once it has."""
    ready = f"/v2/models/{LATE}/ready"
    if server.get(ready)[0] == 200:
        assert fetch(f"{server.rest}/v2/repository/models/{LATE}/unload", b"{}")[0] == 200
        assert wait_until(lambda: server.get(ready)[0] != 200, limit_s=10)


def _own(name: str, given: str, datatype: str, answered: str) -> str:
    kind = f"data_type: TYPE_{datatype} dims: [ -1, -1 ]"
    tensors = f'input [ {{ name: "{given}" {kind} }} ] output [ {{ name: "{answered}" {kind} }} ]'
    return f'name: "{name}" backend: "python" {tensors} instance_group [ {{ kind: KIND_CPU count: 1 }} ]'


def _add_to_mlserver(plan: ServerPlan, work: Path, folder: Path) -> ServerPlan:
    own = work / "mlserver"
    (own / "others.py").write_text(f"OPENED = {str(work / OPENED)!r}\n{MLSERVER_MODELS}")
    settings = {
        **{
            name: MLServerSettings(torch_threads=1).model(spec, str(folder / f"{name}.pt"))
            for name, spec in SPECS.items()
        },
        **{
            name: {"name": name, "implementation": f"others.{name.title()}", "parameters": {"version": "1"}}
            for name in (TOLD, TEXTS, LATE)
        },
    }
    for name, content in settings.items():
        folder = (work / ASIDE if name == LATE else own) / name
        folder.mkdir(parents=True)
        (folder / "model-settings.json").write_text(json.dumps(content))
    return plan


ADD: dict[str, Callable[[ServerPlan, Path, Path], ServerPlan]] = {
    "triton": _add_to_triton,
    "mlserver": _add_to_mlserver,
}
