"""Tables of the command line: no number is ever cut, whatever the terminal's width."""

import dataclasses
import re

import numpy as np
import pytest
from test_outputs_quality import DRAW, START, floats, near, two

from pipelines.cli import tables
from pipelines.parity import agreement as parity
from pipelines.parity.quality import Expectation, Expectations
from pipelines.verify.stage import Verified

NUMBER = re.compile(r"\d+\.\d+e-\d+|\d+(?:\.\d+)?")


@pytest.fixture(scope="module")
def verified():
    DRAW.bit_generator.state = START
    outputs, expected = two()
    noisy = {name: near(array, 1e-6) for name, array in outputs.items()}
    subjects = ("torchserve/a_model_with_a_long_name.mar", "tflite/a_model_with_a_long_name_int8.tflite")
    records = {
        subject.partition("/")[0]: (parity.compare_all(subject, noisy, expected, precision),)
        for subject, precision in zip(subjects, ("float32", "int8"), strict=True)
    }
    return Verified(records, expected, expected.source_accuracy, (), absent={"onnx": "no road takes aten::x"})


def printed(capsys, monkeypatch, verified, width):
    monkeypatch.setenv("COLUMNS", str(width))
    tables.print_parity(verified)
    return capsys.readouterr().out


@pytest.mark.slow
def test_no_width_cuts_a_number(verified, capsys, monkeypatch):
    whole = printed(capsys, monkeypatch, verified, 400)
    numbers = {cell for line in whole.splitlines()[1:5] for cell in line.split() if NUMBER.fullmatch(cell)}
    assert len(numbers) > 5
    for width in range(40, 201):
        found = printed(capsys, monkeypatch, verified, width).split()
        assert numbers <= set(found), (width, numbers - set(found))


def test_every_output_has_its_line_and_its_own_figures(verified, capsys, monkeypatch):
    said = printed(capsys, monkeypatch, verified, 200)
    lines = said.splitlines()
    assert [line.split()[1:3] for line in lines[1:5]] == [["scores", "passed"], ["price", "passed"]] * 2
    assert "not verified: onnx: no road takes aten::x" in lines
    assert "output scores: classes, the source model's accuracy is 100\u202f%" in said
    assert "output price: a regression, the source model's RMSE to its targets is 0" in said


def test_columns_that_say_nothing_are_left_out(verified, capsys, monkeypatch):
    outputs = floats(3)
    one = Expectations(
        {"y": Expectation(outputs, None, verified.expected.primary.tolerance, "none", name="y")}
    )
    records = {"tflite": (parity.compare_all("tflite/y", {"y": outputs}, one),)}
    found = dataclasses.replace(verified, records=records, expected=one, accuracy=None, absent={})
    header = printed(capsys, monkeypatch, found, 120).splitlines()[0].split()
    assert header == ["artifact", "parity", "error", "relative", "std"]


def test_the_facts_hold_every_output(verified):
    facts = tables.parity_facts(verified)
    assert facts["tasks"] == {"scores": "classes", "price": "regression"}
    assert [one["output"] for one in facts["parity"][0]["outputs"]] == ["scores", "price"]
    assert facts["absent"] == {"onnx": "no road takes aten::x"}
    assert np.isfinite(facts["source_target_rmse"] or 0)
