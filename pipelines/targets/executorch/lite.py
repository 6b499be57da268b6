"""PyTorch module → the lite interpreter's `.ptl`, the format before ExecuTorch; only plain, not optimised.

`optimize_for_mobile` would pack the weights for XNNPACK, which CPU builds of torch do not contain. Saving
itself works without it, and apps that still ship PyTorch Mobile 1.x or 2.x load the result.
"""

import time
from pathlib import Path

from models.spec import ModelSpec
from models.weights import load_source
from pipelines.errors import first_line
from pipelines.targets.exported import Exported, NotExported

FORMAT, PRECISION = "ptl", "float32"
# Records that every archive gets from its writer.
WRITTEN_BY_ITSELF = (".data/serialization_id", "version", "byteorder")
TRACE_BATCH = 2  # a batch of one would let tracing take the batch size for a constant


def write_lite(spec: ModelSpec, folder: Path) -> Exported | NotExported:
    """Write `NAME_float32.ptl` into `folder` and see it load and compute the same, or say why not."""
    started = time.monotonic()
    path = folder / f"{spec.name}_{PRECISION}.ptl"
    try:
        worst = _write(spec, path)
    except RuntimeError as error:
        path.unlink(missing_ok=True)
        return NotExported(FORMAT, PRECISION, f"this build of torch refuses: {first_line(error)}")
    if worst > spec.tolerance_of(spec.output.name).absolute + spec.tolerance_of(spec.output.name).relative:
        path.unlink()
        return NotExported(
            FORMAT, PRECISION, f"what this build of torch writes loads, but is off by {worst:.3g}"
        )
    return Exported(path.name, FORMAT, PRECISION, time.monotonic() - started)


def _write(spec: ModelSpec, path: Path) -> float:
    """Save, load again, and the largest error relative to the largest output, on batches of 1 and 3."""
    import torch
    from torch.jit.mobile import _load_for_lite_interpreter

    source = load_source(spec)
    samples = torch.tensor(spec.examples().inputs[: TRACE_BATCH + 1])
    with torch.inference_mode():
        frozen = torch.jit.freeze(torch.jit.trace(source, samples[:TRACE_BATCH]))  # type: ignore[no-untyped-call]
        frozen._save_for_lite_interpreter(str(path))
        _drop_call_stacks(path)
        reloaded = _load_for_lite_interpreter(str(path))  # type: ignore[no-untyped-call]
        errors = []
        for batch in (samples[:1], samples):
            expected = source(batch)
            errors.append(float((reloaded(batch) - expected).abs().max() / expected.abs().max().clamp(min=1)))
    return max(errors)


def _drop_call_stacks(path: Path) -> None:
    """Write the archive again without its `.debug_pkl` records, which hold the paths of whoever traced it."""
    import torch

    reader = torch._C.PyTorchFileReader(str(path))
    records = {name: reader.get_record(name) for name in reader.get_all_records()}
    del reader
    writer = torch._C.PyTorchFileWriter(str(path))
    for name, content in records.items():
        if not name.endswith((".debug_pkl", *WRITTEN_BY_ITSELF)):
            writer.write_record(name, content, len(content))
    writer.write_end_of_file()
