"""Tiny models in files outside the repository: a linear layer on four features, wrong in one way each."""

from pathlib import Path
from textwrap import dedent

HEAD = """
import dataclasses
from pathlib import Path

import numpy as np

from models.spec import ModelSpec, Samples, TensorSpec, Tolerance

NAME, COLUMNS, LABELS, SIGMOID, SCALE = "{name}", {columns}, {labels}, {sigmoid}, {scale}
HERE = Path(__file__).parent
DRAW = np.random.default_rng(7)
WEIGHTS, INPUTS = (DRAW.normal(size=(n, 4)).astype(np.float32) for n in (COLUMNS, 200))
SCORES = INPUTS @ WEIGHTS.T
CLASSES = (SCORES[:, 0] > 0) if COLUMNS == 1 else SCORES.argmax(axis=1)
CHECKPOINT = HERE / (NAME + ".safetensors")


def save():
    from safetensors.numpy import save_file

    save_file({{"linear.weight": WEIGHTS}}, CHECKPOINT)


def forward(linear, x):
    return linear(x)


def build_torch():
    import torch

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(4, COLUMNS, bias=False)

        def forward(self, x):
            scores = forward(self.linear, x)
            return scores.sigmoid() if SIGMOID else scores

    return Net()


def build_keras(state):
    import keras

    given = keras.Input((4,))
    dense = keras.layers.Dense(COLUMNS, use_bias=False, activation="sigmoid" if SIGMOID else None)
    twin = keras.Model(given, dense(given))
    dense.set_weights([state["linear.weight"].T * SCALE])
    return twin


def samples():
    return Samples(INPUTS, {truth})


def calibration():
    return samples()


{more}
if not CHECKPOINT.exists():
    save()
MODEL = ModelSpec(
    name=NAME,
    inputs=(TensorSpec("x", "float32", (None, 4)),),
    outputs=(TensorSpec("y", "float32", (None, COLUMNS)),),
    labels=LABELS,
    tolerance=Tolerance(1e-4, 1e-4),
    checkpoint=CHECKPOINT,
    build_torch=build_torch,
    test_samples=samples,
    train_samples=lambda: calibration(),
    build_keras=build_keras,
)
"""


def write(
    folder: Path,
    name: str,
    more: str = "",
    *,
    columns: int = 3,
    labels: str = "()",
    truth: str = "CLASSES.astype(np.int64)",
    sigmoid: bool = False,
    scale: float = 1.0,
) -> Path:
    """The file NAME.py in `folder`: `more` replaces `forward`, `calibration` or what else it defines anew."""
    values = {"name": name, "columns": columns, "labels": labels, "truth": truth}
    path = folder / f"{name}.py"
    path.write_text(HEAD.format(**values, sigmoid=sigmoid, scale=scale, more=dedent(more)))
    return path
