"""A model outside the repository with several tensors goes through a comparison and a smoke test."""

import json
from pathlib import Path

import pytest
from main_job import HASTY, processes_of, tandem

pytestmark = pytest.mark.slow

MODEL = """
from pathlib import Path

import numpy as np

from models.spec import ModelSpec, Samples, TensorSpec, Tolerance

CHECKPOINT = Path(__file__).with_name("two.safetensors")


def build_torch():
    import torch

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.image = torch.nn.Embedding(50, 8), torch.nn.Linear(12, 8)
            self.scores, self.value = torch.nn.Linear(8, 3), torch.nn.Linear(8, 1)

        def forward(self, image, tokens):
            hidden = torch.tanh(self.image(image.flatten(1)) + self.words(tokens).sum(1))
            return self.scores(hidden), {"value": self.value(hidden)}

    return Net()


def samples():
    draw = np.random.default_rng(5)
    tokens = [draw.integers(0, 50, 1 + place % 4) for place in range(60)]
    return Samples({"image": draw.normal(size=(60, 3, 4)).astype(np.float32), "tokens": tokens})


if not CHECKPOINT.exists():
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(3)
    save_file(build_torch().state_dict(), CHECKPOINT)
MODEL = ModelSpec(
    name="two",
    inputs=(TensorSpec("image", "float32", (None, 3, 4)), TensorSpec("tokens", "int64", (None, None))),
    outputs=(TensorSpec("scores", "float32", (None, 3)), TensorSpec("value", "float32", (None, 1))),
    labels=(),
    tolerance=Tolerance(1e-4, 1e-4),
    checkpoint=CHECKPOINT,
    build_torch=build_torch,
    test_samples=samples,
    task={"scores": "classes", "value": "regression"},
)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a space in its name, as people have them, and the model in it."""
    folder = tmp_path_factory.mktemp("my models")
    (folder / "two tensors.py").write_text(MODEL)
    return folder


def test_what_to_type_names_the_file(folder):
    done = tandem("verify", "two tensors.py", cwd=folder)
    assert done.returncode == 2
    assert "run `tandem export 'two tensors.py'`" in done.stderr


def test_several_tensors_are_compared(folder):
    command = ("compare", "two tensors.py", "--profile", "smoke", "--sides", "torchserve", "--no-mobile")
    short = ("--rounds", "1", "--round-s", "1", "--loads", "closed:4")
    done = tandem(*command, *short, "--runner", "local", cwd=folder, program=HASTY)
    assert done.returncode == 0, done.stderr
    run = json.loads((folder / "runs/latest/run.json").read_text())
    side = run["targets"]["torchserve"]
    endpoint = side["endpoint_parity"]
    assert endpoint["passed"]
    assert endpoint["samples_count"] == 60
    assert [(one["output"], one["task"]) for one in endpoint["outputs"]] == [
        ("scores", "classes"),
        ("value", "regression"),
    ]
    assert side["rounds"]
    for one in side["rounds"]:
        assert one["requests_count"] > 0
        assert (one["errors_count"], one["wrong_count"]) == (0, 0)
        assert one["checked_count"] == one["requests_count"]
    assert run["payload"]["bodies_count"] == 60
    assert '"tokens":' in run["payload"]["body_example"]
    kept = sum(path.stat().st_size for path in Path(folder, "runs/latest").glob("*.zip"))
    assert kept < 2 * 60 * run["payload"]["body_bytes_max"]


def test_several_tensors_are_deployed(folder):
    done = tandem(
        "smoke", "two tensors.py", "--sides", "torchserve", "--runner", "local", "--json", cwd=folder
    )
    assert done.returncode == 0, done.stderr
    states = {check["name"]: check["state"] for check in json.loads(done.stdout)["checks"]}
    for name in ("metadata", "rest-row", "grpc", "wrong-input", "load"):
        assert states[f"torchserve.{name}"] == "passed"
    assert not processes_of(folder)
