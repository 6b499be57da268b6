"""`tandem check`: every claim has its line, and every mistake the place where it was made."""

import json
import re

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tasks_here import in_this_process
from torch import nn

from models.errors import ModelError
from pipelines.check import stage
from pipelines.cli import start

MODEL_FILE = """
import numpy as np
from pathlib import Path
from models.spec import ModelSpec, Samples, TensorSpec, Tolerance

HERE = Path(__file__).parent


def build_torch():
    from torch import nn

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 3)

        def forward(self, x):
            return self.fc(x)

    return Net()


def test_samples():
    draw = np.random.default_rng(0)
    x = draw.normal(size=(60, 4)).astype(np.float32)
    return Samples(x, x[:, :3].argmax(axis=1))


MODEL = ModelSpec(
    name="tiny",
    inputs=(TensorSpec("x", "float32", (None, 4)),),
    outputs=(TensorSpec("y", "float32", (None, 3)),),
    labels=("a", "b", "c"),
    tolerance=Tolerance(1e-4, 1e-4),
    checkpoint=HERE / "weights.safetensors",
    build_torch=build_torch,
    test_samples=test_samples,
)
"""


@pytest.fixture
def checked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_file({"fc.weight": torch.eye(3, 4), "fc.bias": torch.zeros(3)}, tmp_path / "weights.safetensors")

    def check(*changes, name="tiny_model.py"):
        text = MODEL_FILE
        for before, after in changes:
            assert before in text
            text = text.replace(before, after)
        (tmp_path / name).write_text(text)
        return stage.check_here(lambda _: None, name)

    return check


def line(text):
    """The place of the first line of the model file that holds `text`."""
    return f"tiny_model.py:{MODEL_FILE.split(text, maxsplit=1)[0].count(chr(10)) + 1}"


def test_a_spec_that_is_right_has_every_claim_ok(checked):
    claims = checked()
    assert {claim.state for claim in claims} == {"ok", "note"}
    said = {claim.what: claim.found for claim in claims}
    assert said["file"] == "model tiny, digest over 1 files and the checkpoint"
    assert said["checkpoint"] == "2 tensors, 15 parameters, float32"
    assert said["samples of x"] == "60 of float32 (4)"
    assert said["labels of y"] == "60 samples, 3 different classes"
    assert said["output y"].startswith("classes, the source model's accuracy is 100")
    assert [claim.what for claim in claims if claim.state == "note"] == ["calibration samples"]
    assert sum(claim.what.startswith("source model") for claim in claims) == 7


def test_a_slow_model_is_judged_by_the_samples_it_was_asked(checked, monkeypatch):
    monkeypatch.setattr(stage, "QUALITY_S", 0.0)
    claims = {claim.what: claim for claim in checked(("(60, 4)", "(5000, 4)"))}
    assert claims["output y"].found.startswith("classes, the source model's accuracy is 100")
    assert "on 32 samples" in claims["output y"].found


LINEAR, FC, CLASSES = "Linear(4, 3)", "return self.fc(x)", ".argmax(axis=1)"
HELD_OUT, BUILT = "    test_samples=t", "    build_torch=b"
MISTAKES = {
    "syntax": (("def build_torch():", "def build_torch(:"), "file", "SyntaxError", "def build_torch():"),
    "import": (
        ("    from torch", "    import nowhere\n    from torch"),
        "architecture",
        "nowhere",
        "    from torch",
    ),
    "signature": (('"float32", (None, 4)', '"floaty", (None, 4)'), "file", "dtype 'floaty'", "    inputs=("),
    "labels": (('"b", "c"', '"b"'), "file", "2 labels for an output of 3", "    labels=("),
    "no checkpoint": (("weights.safe", "gone.safe"), "checkpoint", "gone.safetensors", "    checkpoint="),
    "architecture": ((LINEAR, "Linear(4, 2)"), "architecture", "needs (2, 4)", BUILT),
    "float64": ((".astype(np.float32)", ""), "samples", "samples of tiny are float64", HELD_OUT),
    "sample shape": (("size=(60, 4)", "size=(60, 5)"), "samples", "shape (5,)", HELD_OUT),
    "nan": (("return Samples(x,", "x[3, 1] = np.nan; return Samples(x,"), "samples", "sample 3 of", HELD_OUT),
    "samples fail": (("60, 4)).", "60, 4)).nothing()."), "samples", "AttributeError", "    x = draw"),
    "no class": ((CLASSES, f"{CLASSES} + 1"), "labels", "labels from 1 to 3", HELD_OUT),
    "few labels": ((CLASSES, f"{CLASSES}[1:]"), "labels", "60 sample inputs for 59", HELD_OUT),
    "output shape": (
        ('(None, 3)),),\n    labels=("a", "b", "c")', "(None, 7)),),\n    labels=()"),
        "source model answers as declared",
        "float32 of shape (32, 3) for 32 samples, its output 'y' must be float32 of shape (32, 7)",
        "    build_torch=b",
    ),
    "branch": (
        ("return self.fc(x)", "return self.fc(x) if x.sum() > 0 else -self.fc(x)"),
        "source model reads no values of its inputs",
        "it branches on its data; an exported file",
        "            return self.fc(x)",
    ),
    "forward fails": (
        ("return self.fc(x)", "return self.fc(x.nothing)"),
        "source model answers as declared",
        "AttributeError: 'Tensor' object has no attribute 'nothing'",
        "            return self.fc(x)",
    ),
    "random": (
        ("return self.fc(x)", "import torch; return self.fc(x) + torch.rand(3)"),
        "source model answers the same again",
        "it draws random numbers",
        "    build_torch=b",
    ),
    "batch": (
        ("return self.fc(x)", "return self.fc(x - x.mean(0))"),
        "source model answers each sample by itself",
        "depends on its batch",
        "    build_torch=b",
    ),
    "constant": (("return self.fc(x)", "return self.fc(x * 0)"), "output y", "differ by 0", "    outputs=("),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_named_once_with_its_line(checked, name):
    change, what, said, place = MISTAKES[name]
    claims = checked(change)
    wrong = [claim for claim in claims if claim.state == "wrong"]
    assert [claim.what for claim in wrong] == [what]
    assert said in wrong[0].found
    assert "\n" not in wrong[0].found
    assert wrong[0].place == line(place)
    assert str(wrong[0].place) not in wrong[0].found


def test_words_of_a_message_are_not_taken_for_the_part_of_the_spec(checked):
    (wrong,) = checked(('name="tiny"', 'name="outputs"'), ('"b", "c"', '"b"'))
    assert (wrong.state, wrong.place) == ("wrong", line("    labels=("))


def test_a_line_of_python_that_a_message_mentions_is_not_taken_for_the_mistake(checked):
    said = 'raise ValueError("bad row at helper.py:3")'
    claims = checked(("    x = draw", f"    {said}\n    x = draw"))
    (wrong,) = [claim for claim in claims if claim.state == "wrong"]
    assert wrong.place == line("    x = draw")
    assert "bad row at helper.py:3" in wrong.found


def test_what_depends_on_a_mistake_is_untested_and_the_rest_is_tested(checked):
    states = {claim.what: claim.state for claim in checked(("weights.safe", "gone.safe"))}
    assert states["architecture"] == states["source model"] == "untested"
    assert states["samples of x"] == states["labels of y"] == "ok"


def test_labels_that_the_source_model_does_not_know_are_worth_a_note(checked):
    claims = checked((".argmax(axis=1)", "[:, ::-1].argmax(axis=1)[::-1]"))
    notes = [claim.found for claim in claims if claim.what == "labels of y" and claim.state == "note"]
    assert len(notes) == 1
    assert re.search(r"is the label on \d+% of 60 samples, no more than by chance", notes[0])


def test_a_file_that_is_not_there_says_how_to_write_one(tmp_path):
    with pytest.raises(
        ModelError, match=r"nothing\.py does not exist; `tandem init .*nothing\.py` writes one"
    ):
        stage.check(str(tmp_path / "nothing.py"), lambda *_: None)


def run_here(monkeypatch):
    monkeypatch.setattr(stage, "run_tasks", in_this_process)


@pytest.mark.parametrize(("change", "code"), [(("tiny", "tiny"), 0), (("Linear(4, 3)", "Linear(4, 2)"), 1)])
@pytest.mark.parametrize("as_json", [True, False])
def test_the_exit_code_says_whether_all_claims_hold(checked, monkeypatch, capsys, change, code, as_json):
    checked(change)
    run_here(monkeypatch)
    arguments = ["tiny_model.py", *(["--json"] if as_json else [])]
    context = start.check.make_context("check", arguments)
    assert start.check.callback(**context.params) == code
    said = capsys.readouterr().out
    if as_json:
        assert json.loads(said)["passed"] is (code == 0)
    else:
        assert ("wrong" in said) is (code == 1)
        assert "labels of y" in said


def test_ragged_samples_and_whole_numbers_are_described(tmp_path, monkeypatch):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(9, 2)

    save_file(Net().state_dict(), tmp_path / "weights.safetensors")
    text = MODEL_FILE.replace("self.fc = nn.Linear(4, 3)", "self.embed = nn.Embedding(9, 2)")
    text = text.replace("return self.fc(x)", "return self.embed(x).mean(1)")
    text = text.replace('"float32", (None, 4)', '"int64", (None, None)').replace("(None, 3)", "(None, 2)")
    text = text.replace('labels=("a", "b", "c")', "labels=()")
    i, j = text.index("    x = draw"), text.index("MODEL =")
    text = (
        text[:i] + "    return Samples([draw.integers(0, 9, 2 + n % 5) for n in range(60)])\n\n\n" + text[j:]
    )
    (tmp_path / "ragged.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    claims = stage.check_here(lambda _: None, "ragged.py")
    said = {claim.what: claim.found for claim in claims}
    assert {claim.state for claim in claims} <= {"ok", "note"}, claims
    assert said["samples of x"] == "60 of int64, 5 shapes from (2) to (6)"
    assert np.char.startswith(said["output y"], "held to the source model's own outputs")
