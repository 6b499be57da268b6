"""The runtime that Triton's Python backend loads, in an interpreter of Triton's: it imports nothing of ours.

Tensors stay where Triton put them: PyTorch reads the shared memory that a request arrived in. Requests that
the server put into one batch run as one, which copies their rows once.
"""

import json
import os
from typing import Any

import torch
import triton_python_backend_utils as pb_utils
from torch.utils import dlpack

SIGNATURE_NAME = "signature.json"


class TritonPythonModel:
    """One TorchScript file; Triton makes one in each process of the instance group."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the file, and set this process's threads if the configuration says how many."""
        parameters = {
            name: value["string_value"]
            for name, value in json.loads(args["model_config"])["parameters"].items()
        }
        if "torch_threads" in parameters:
            torch.set_num_threads(int(parameters["torch_threads"]))
        if "torch_interop_threads" in parameters:
            torch.set_num_interop_threads(int(parameters["torch_interop_threads"]))
        packed = {SIGNATURE_NAME: ""}
        self.module: Any = torch.jit.load(parameters["script"], map_location="cpu", _extra_files=packed)  # type: ignore[no-untyped-call]
        self.module.eval()
        signature = json.loads(packed[SIGNATURE_NAME])
        self.inputs = [tensor["name"] for tensor in signature["inputs"]]
        self.outputs = [tensor["name"] for tensor in signature["outputs"]]
        self._tell_threads(args["model_instance_name"])

    def _tell_threads(self, instance: str) -> None:
        """Report this process's threads in the server's metrics."""
        self.family = pb_utils.MetricFamily(
            name="tandem_torch_threads",
            description="Threads that PyTorch computes with in one process",
            kind=pb_utils.MetricFamily.GAUGE,
        )
        counts = {"intra": torch.get_num_threads(), "inter": torch.get_num_interop_threads()}
        self.metrics = []
        for kind, count in counts.items():
            metric = self.family.Metric(labels={"instance": instance, "pid": str(os.getpid()), "kind": kind})
            metric.set(count)
            self.metrics.append(metric)

    def execute(self, requests: list[Any]) -> list[Any]:
        """Return one answer for each request, in their order."""
        try:
            batch = [[self._tensor(request, name) for name in self.inputs] for request in requests]
            if len(batch) == 1:
                return [self._answer(requests[0], self._run(batch[0]))]
            return self._together(requests, batch)
        except (RuntimeError, IndexError, ValueError) as error:
            if len(requests) == 1:
                return [pb_utils.InferenceResponse(error=refusal(error))]
            # What one of them did is not to cost the others their answers.
            return [answer for request in requests for answer in self.execute([request])]

    def _tensor(self, request: Any, name: str) -> torch.Tensor:
        """Return one input without copying it."""
        tensor: torch.Tensor = dlpack.from_dlpack(
            pb_utils.get_input_tensor_by_name(request, name).to_dlpack()
        )
        return tensor

    def _together(self, requests: list[Any], batch: list[list[torch.Tensor]]) -> list[Any]:
        """Run the rows of several requests as one."""
        rows = [inputs[0].shape[0] for inputs in batch]
        tensors = self._run([torch.cat(parts) for parts in zip(*batch, strict=True)])
        if any(tensor.shape[0] != sum(rows) for tensor in tensors):
            raise ValueError("an output has not one row for each row of the inputs")
        parts = zip(*(torch.split(tensor, rows) for tensor in tensors), strict=True)
        return [self._answer(request, own) for request, own in zip(requests, parts, strict=True)]

    def _run(self, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
        rows = {name: tensor.shape[0] for name, tensor in zip(self.inputs, inputs, strict=True)}
        if len(set(rows.values())) > 1:
            raise ValueError(f"the inputs have different numbers of rows: {rows}")
        with torch.inference_mode():
            answer = self.module(*inputs)
        if isinstance(answer, dict) and answer.keys() == set(self.outputs):
            answer = [answer[name] for name in self.outputs]
        tensors = [tensor.float() if tensor.dtype == torch.bfloat16 else tensor for tensor in flat(answer)]
        if len(tensors) != len(self.outputs):
            raise ValueError(f"the model gives {len(tensors)} outputs, expected {self.outputs}")
        return [tensor.contiguous() for tensor in tensors]

    def _answer(self, request: Any, tensors: Any) -> Any:
        """Return the outputs that the request asks for; Triton has checked their names."""
        requested = set(request.requested_output_names())
        return pb_utils.InferenceResponse(
            [
                pb_utils.Tensor.from_dlpack(name, tensor)
                for name, tensor in zip(self.outputs, tensors, strict=True)
                if name in requested
            ]
        )


def refusal(error: Exception) -> Any:
    """Return an error as Triton's client sees it: status 400 with the last line of the reason."""
    reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
    return pb_utils.TritonError(f"the model refuses the tensors: {reason}", pb_utils.TritonError.INVALID_ARG)


def flat(answer: Any) -> list[torch.Tensor]:
    """Flatten what a model returns, nested tuples, lists and dicts, to tensors from left to right."""
    if isinstance(answer, dict):
        answer = list(answer.values())
    return (
        [tensor for part in answer for tensor in flat(part)]
        if isinstance(answer, (tuple, list))
        else [answer]
    )
