"""PyTorch module → the lite interpreter's `.ptl`, the format before ExecuTorch; only plain, not optimised.

`optimize_for_mobile` would pack the weights for XNNPACK, which CPU builds of torch do not contain. Saving
itself works without it, and apps that still ship PyTorch Mobile 1.x or 2.x load the result.
"""

import time
from pathlib import Path

from models.errors import ModelError
from pipelines.errors import first_line
from pipelines.targets.exported import Exported, NotExported
from pipelines.targets.tracing import Traceable, hushed, prove_module

FORMAT, PRECISION = "ptl", "float32"
# Records that every archive gets from its writer.
WRITTEN_BY_ITSELF = (".data/serialization_id", "version", "byteorder")


def write_lite(model: Traceable, folder: Path) -> Exported | NotExported:
    """Write `NAME_float32.ptl` into `folder` and see it load and compute the same, or say why not."""
    started = time.monotonic()
    path = folder / f"{model.spec.name}_{PRECISION}.ptl"
    try:
        _write(model, path)
        _prove(model, path)
    except ModelError as error:
        path.unlink()
        return NotExported(FORMAT, PRECISION, f"what this build of torch writes loads, but: {error}")
    except Exception as error:  # noqa: BLE001 - one file of several, whatever tracing it raised
        path.unlink(missing_ok=True)
        return NotExported(FORMAT, PRECISION, f"this build of torch refuses: {first_line(error)}")
    return Exported(path.name, FORMAT, PRECISION, time.monotonic() - started)


def _write(model: Traceable, path: Path) -> None:
    import torch

    with hushed(), torch.inference_mode():
        frozen = torch.jit.freeze(torch.jit.trace(model.module, model.inputs))  # type: ignore[no-untyped-call]
        frozen._save_for_lite_interpreter(str(path))
        _drop_call_stacks(path)


def _prove(model: Traceable, path: Path) -> None:
    """Load it again and ask it batches of one and three.

    Raises:
        ModelError: its outputs are not the module's.
    """
    from torch.jit.mobile import _load_for_lite_interpreter

    reloaded = _load_for_lite_interpreter(str(path))  # type: ignore[no-untyped-call]
    prove_module(model, path, reloaded)


def _drop_call_stacks(path: Path) -> None:
    """Write the archive again without its `.debug_pkl` records, which hold paths of this machine."""
    import torch

    reader = torch._C.PyTorchFileReader(str(path))
    records = {name: reader.get_record(name) for name in reader.get_all_records()}
    del reader
    writer = torch._C.PyTorchFileWriter(str(path))
    for name, content in records.items():
        if not name.endswith((".debug_pkl", *WRITTEN_BY_ITSELF)):
            writer.write_record(name, content, len(content))
    writer.write_end_of_file()
