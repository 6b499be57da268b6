"""Imported programs of TorchScript in the folder of a server that reads one file: plain, MLServer, Triton."""

import json
from pathlib import Path

from models.given import GivenFile, load_program
from models.spec import ModelSpec
from pipelines.targets.exported import Exported
from pipelines.targets.imports import SIGNED, given_of
from pipelines.targets.torchserve.export import SIGNATURE_NAME, signature


def place(spec: ModelSpec, file: GivenFile, folder: Path) -> list[Exported]:
    """Write the signature into the file itself, where its server reads inputs and outputs."""
    import torch

    script = folder / f"{spec.name}.pt"
    program = load_program(given_of(spec).folder, file)
    torch.jit.save(program, script, {SIGNATURE_NAME: json.dumps(signature(spec))})
    return [Exported(script.name, "torchscript", file.precision, 0.0, road=SIGNED)]
