"""Do our TFLite latencies agree with a plain loop over the interpreter? One thread, host CPU.

Run on a quiet machine, with a model that was exported: `python benchmarks/mobile_agreement.py digits_cnn`.
Every turn, two fresh processes per artifact time it one right after the other, in alternating order: one is
the measurement of `tandem mobile`, the other a loop of a few lines that knows nothing of this project. Both
warm up for half of `--seconds` and call for all of them. Printed is the ratio ours / plain loop of the
medians: its median over the turns, and the smallest and the largest.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from models import tensors
from models.spec import ModelSpec, load_model
from pipelines.mobile.timing import TimingRules, time_here
from pipelines.tasks.tasks import run_tasks, task_of

LIMIT_S = 120.0
SAMPLES = 16
NAMED, PLAIN_SAMPLES = "samples.npz", "samples.npy"

# The independent side: the vendor's interpreter, a clock, a list.
PLAIN = """
import json, sys, time
import numpy as np
from ai_edge_litert.interpreter import Interpreter
path, samples, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
interpreter = Interpreter(model_path=path, num_threads=1)
interpreter.allocate_tensors()
tensor = interpreter.get_input_details()[0]
scale, zero = tensor["quantization"]
inputs = np.load(samples)
if tensor["dtype"] != np.float32:
    limits = np.iinfo(tensor["dtype"])
    inputs = np.clip(np.round(inputs / scale) + zero, limits.min, limits.max)
inputs = inputs.astype(tensor["dtype"])
def calls(seconds):
    took, end, number = [], time.perf_counter() + seconds, 0
    while time.perf_counter() < end or number < 50:
        interpreter.set_tensor(tensor["index"], inputs[number % len(inputs)][None])
        began = time.perf_counter_ns()
        interpreter.invoke()
        took.append(time.perf_counter_ns() - began)
        number += 1
    return took
calls(seconds / 2)
print(json.dumps(calls(seconds)))
"""


def plain_us(artifact: Path, samples: Path, seconds: float) -> float:
    """Return the median of the plain loop over `seconds`, in microseconds."""
    command = [sys.executable, "-c", PLAIN, str(artifact), str(samples), str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(statistics.median(json.loads(done.stdout))) / 1e3


def ours_us(artifact: Path, spec: ModelSpec, work: Path, seconds: float) -> float:
    """Return the median of our measurement over `seconds`, in microseconds."""
    task = task_of(
        artifact.name,
        LIMIT_S + 10 * seconds,
        time_here,
        runtime="pipelines.targets.tflite.runtime",
        artifact=artifact,
        artifact_format="tflite",
        threads_count=1,
        samples=work / NAMED,
        outputs=[output.name for output in spec.outputs],
        modules=["ai_edge_litert.interpreter"],
        calls=work / "calls.npy",
        rules=TimingRules(warmup_s=seconds / 2, measured_s=seconds),
    )
    run_tasks([task], lambda *_: None)
    return float(np.median(np.load(work / "calls.npy"))) / 1e3


def ratios(artifact: Path, spec: ModelSpec, work: Path, turns: int, seconds: float) -> list[float]:
    """Return ours / theirs, turn by turn; who goes first alternates."""
    samples = work / PLAIN_SAMPLES
    found = []
    for turn in range(turns):
        if turn % 2:
            theirs, ours = plain_us(artifact, samples, seconds), ours_us(artifact, spec, work, seconds)
        else:
            ours, theirs = ours_us(artifact, spec, work, seconds), plain_us(artifact, samples, seconds)
        found.append(ours / theirs)
        print(
            f"  {artifact.name} turn {turn + 1}: ours {ours:.2f} us, plain loop {theirs:.2f} us",
            file=sys.stderr,
        )
    return found


def main() -> None:
    """Compare every TFLite artifact of a model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="digits_cnn")
    parser.add_argument("--artifacts", type=Path, default=Path("artifacts"))
    parser.add_argument("--turns", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=1.0, help="calls of each side in a turn")
    parser.add_argument("--only", default="*", metavar="GLOB", help="artifacts by name, such as '*_int8*'")
    given = parser.parse_args()
    spec = load_model(given.model)
    files = sorted((given.artifacts / spec.name / "tflite").glob(f"{given.only}.tflite"))
    if not files:
        place = given.artifacts / spec.name / "tflite"
        sys.exit(f"no {given.only}.tflite in {place}; run `tandem export {given.model}`")
    with tempfile.TemporaryDirectory(prefix="tandem-agreement-") as folder:
        named = tensors.take(spec.samples().named, slice(SAMPLES))
        if len(named) > 1 or any(map(tensors.is_ragged, named.values())):
            sys.exit(f"{spec.name} has several inputs or lengths; the plain loop knows one")
        tensors.save(Path(folder) / NAMED, named)
        np.save(Path(folder) / PLAIN_SAMPLES, next(iter(named.values())))
        for artifact in files:
            found = ratios(artifact, spec, Path(folder), given.turns, given.seconds)
            print(
                f"{artifact.name}: ours / plain loop {statistics.median(found):.3f} "
                f"({min(found):.3f} to {max(found):.3f}, {len(found)} turns)"
            )


if __name__ == "__main__":
    main()
