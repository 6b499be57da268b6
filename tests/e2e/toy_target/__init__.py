"""A target of somebody else: the model's one matrix as NumPy's file, behind Python's own HTTP server."""

from pathlib import Path

from pipelines.targets.target import Target

TARGET = Target(
    name="toy",
    title="Toy Server",
    framework="toy",
    toolchain=("numpy",),
    export="toy_target.export:export",
    runtime="toy_target.runtime:predict",
    server="toy_target.server:plan",
    folder=Path(__file__).parent,
)
