import dataclasses
import math
import shutil
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from models import tensors
from models.digits_cnn import MODEL
from models.spec import Tolerance
from pipelines.artifacts import contents
from pipelines.artifacts import manifest as artifact
from pipelines.errors import GateError, MachineError, RequestError
from pipelines.parity import agreement as parity
from pipelines.parity.agreement import Expectation
from pipelines.record.artifact import NotExportedRecord
from pipelines.targets.registry import TARGETS, USUALLY_SERVED
from pipelines.tasks.tasks import Outcome
from pipelines.verify import proof, work
from pipelines.verify import stage as verifying

TOLERANCE = Tolerance(absolute=1e-2, relative=1e-2)
plain = st.floats(-1000, 1000, width=32)


def expectation(outputs, labels=None, tolerance=TOLERANCE):
    return Expectation(np.asarray(outputs, np.float32), labels, tolerance)


def passes(got, expected, tolerance=TOLERANCE):
    return parity.compare(
        "it", np.asarray(got, np.float32), expectation(expected, tolerance=tolerance)
    ).passed


@pytest.mark.slow
@given(data=st.data(), samples=st.integers(1, 5), classes=st.integers(1, 4))
def test_compare_agrees_with_a_loop_over_the_elements(data, samples, classes):
    expected = data.draw(hnp.arrays(np.float32, (samples, classes), elements=plain))
    noise = data.draw(hnp.arrays(np.float32, (samples, classes), elements=st.floats(-12, 12, width=32)))
    got = (expected + noise * data.draw(st.sampled_from([0, 1e-3, 1]))).astype(np.float32)
    worst_absolute = worst_relative = 0.0
    ok = True
    for row_got, row_expected in zip(got.tolist(), expected.tolist(), strict=True):
        for one_got, one_expected in zip(row_got, row_expected, strict=True):
            error, allowed = abs(one_got - one_expected), 0.01 + 0.01 * abs(one_expected)
            assume(abs(error - allowed) > 1e-5 * allowed)  # float32 may fall on either side of the very limit
            ok &= error <= allowed
            worst_absolute = max(worst_absolute, error)
            if abs(one_expected) > 0.01:
                worst_relative = max(worst_relative, error / abs(one_expected))
    record = parity.compare("it", got, expectation(expected))
    assert record.passed is ok
    assert record.samples_count == samples
    assert record.max_abs_error == pytest.approx(worst_absolute)
    assert record.max_rel_error == pytest.approx(worst_relative)


@pytest.mark.parametrize(
    ("error", "passed"), [(0.0199, True), (0.0201, False), (-0.0199, True), (-0.0201, False)]
)
def test_the_limit_is_absolute_plus_relative(error, passed):
    assert passes([[1.0 + error]], [[1.0]]) is passed


def test_around_zero_only_the_absolute_tolerance_counts():
    assert passes([[0.009]], [[0.0]])
    assert not passes([[0.011]], [[0.0]])
    assert parity.compare("it", np.float32([[0.009]]), expectation([[0.0]])).max_rel_error == 0


@pytest.mark.parametrize("place", [(0, 0), (4, 2), (8, 3)])
def test_one_wrong_element_of_one_sample_fails(place):
    expected = np.arange(36, dtype=np.float32).reshape(9, 4) + 100
    got = expected.copy()
    got[place] += 3
    assert not passes(got, expected)


@pytest.mark.parametrize("expected", [5.0, 0.0])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_nan_and_infinity_never_pass(bad, expected):
    record = parity.compare("it", np.float32([[1, 2], [bad, 5]]), expectation([[1, 2], [expected, 5]]))
    assert not record.passed


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_nan_and_infinity_beside_a_small_value_fail_like_any_other(bad):
    record = parity.compare("it", np.float32([[1, 2], [bad, 5]]), expectation([[1, 2], [0.5, 5]]))
    assert not record.passed


def test_a_source_model_that_gives_nan_proves_nothing():
    assert not passes([[math.nan]], [[math.nan]])


def test_other_shapes_are_refused_with_both_shapes():
    with pytest.raises(
        GateError, match=r"thing gives outputs of shape \(2, 3\), the source model gives \(3, 2\)"
    ):
        parity.compare("thing", np.zeros((2, 3), np.float32), expectation(np.zeros((3, 2))))


def test_a_missing_sample_is_refused():
    with pytest.raises(GateError):
        parity.compare("thing", np.zeros((2, 2), np.float32), expectation(np.zeros((3, 2))))


def test_agreement_and_accuracy_are_shares_of_samples():
    expected = expectation([[1, 0], [1, 0], [0, 1], [0, 1]], labels=np.array([0, 1, 1, 0]))
    record = parity.compare("it", np.float32([[1, 0], [0, 1], [0, 1], [0, 1]]), expected)
    assert record.top1_agreement == 0.75
    assert record.accuracy == 0.75
    assert expected.accuracy(expected.outputs) == 0.5


def test_accuracy_without_labels_or_classes_is_not_measured():
    flat, deep = np.zeros((2, 2), np.float32), np.zeros((2, 2, 2), np.float32)
    assert expectation(flat).accuracy(flat) is None
    assert expectation(deep, labels=np.array([0, 0])).accuracy(deep) is None
    record = parity.compare("it", np.zeros((2, 2, 2), np.float32), expectation(np.zeros((2, 2, 2))))
    assert record.top1_agreement is None


def test_the_explanation_names_the_worst_sample_and_counts_the_others():
    expected = expectation([[1, 2], [3, 4], [5, 6], [7, 8]])
    got = np.float32([[1, 2], [3, 4.2], [5, 9], [7, 8]])
    record = parity.compare("tflite/x.tflite", got, expected)
    assert not record.passed
    assert parity.explain(record) == (
        "tflite/x.tflite is not the source model: sample 2, output [1]: expected 6, got 9 (allowed ±0.07); "
        "2 of 4 samples are outside tolerance"
    )


HALF = np.array([0, 1, 0, 1])
ONE_HOT = np.eye(2, dtype=np.float32)


LOOSE = Tolerance(absolute=1e-2, relative=1e-2, reduced=0.9)


def reduced(chosen, labels=HALF):
    """A reduced precision that chooses so, against a source model that is always right."""
    expected = expectation(ONE_HOT[HALF], labels=labels)
    got = ONE_HOT[np.asarray(chosen)]
    return parity.compare("it", got, expected, "int8"), got, expected


def test_a_reduced_precision_may_be_better_than_the_source_model():
    got = ONE_HOT[HALF] * np.float32([4, 1])
    worse = got.copy()
    worse[0] = [1.9, 2]
    assert expectation(worse, labels=HALF).accuracy(worse) != 1
    assert parity.compare("it", got, expectation(worse, tolerance=LOOSE, labels=HALF), "int8").passed


def test_without_labels_the_first_choices_are_what_counts():
    record, _, _ = reduced([0, 1, 0, 0], labels=None)
    assert not record.passed
    assert parity.explain(record).startswith(
        "it is not the source model: top-1 agreement 0.7500, at least 0.99 is allowed; output error "
    )
    assert reduced(HALF, labels=None)[0].passed


def test_a_drop_of_exactly_the_limit_is_allowed():
    labels = np.zeros(100, np.int64)
    expected = expectation(ONE_HOT[labels], labels=labels)
    for wrong, passed in ((1, True), (2, False)):
        got = ONE_HOT[(np.arange(100) < wrong).astype(int)]
        assert parity.compare("it", got, expected, "int8").passed is passed


def test_a_reduced_precision_that_gives_nan_fails_and_says_so():
    got = np.float32([[1, 0], [0, math.nan]])
    expected = expectation(ONE_HOT, labels=np.array([0, 1]))
    record = parity.compare("it", got, expected, "float16")
    assert not record.passed
    assert "not finite" in parity.explain(record)


@pytest.mark.parametrize(("error", "passed"), [(0.19, True), (0.21, False)])
def test_a_reduced_precision_is_held_to_the_outputs_whatever_it_chooses(error, passed):
    outputs = np.float32([[-1, -9], [1, -9]])  # a standard deviation of 1 and of 0, pooled 0.7071
    got = outputs + np.float32([error, -error]) / np.sqrt(2).astype(np.float32)
    expected = expectation(outputs, labels=np.array([0, 0]), tolerance=Tolerance(1e-4, 0))
    record = parity.compare("it", got, expected, "int8")
    assert record.accuracy == 1
    assert record.output_error == pytest.approx(error, rel=1e-4)
    assert record.passed is passed
    half = parity.compare("it", (outputs + got) / 2, expected, "float16")
    assert (half.max_output_error, half.passed) == (pytest.approx(0.02), False)


def test_the_explanation_prefers_nan_to_any_number():
    expected = expectation([[1, 2], [3, 4]])
    got = np.float32([[1, 900], [math.nan, 4]])
    record = parity.compare("it", got, expected)
    assert "sample 1, output [0]: expected 3, got nan" in parity.explain(record)


@given(hnp.arrays(np.float32, st.tuples(st.integers(1, 6), st.integers(1, 5)), elements=plain))
def test_spread_is_the_median_range_over_elements(outputs):
    ranges = sorted(max(column) - min(column) for column in zip(*outputs.tolist(), strict=True))
    middle = len(ranges) // 2
    median = ranges[middle] if len(ranges) % 2 else (ranges[middle - 1] + ranges[middle]) / 2
    assert parity.output_spread(outputs) == pytest.approx(median, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize(("spread", "refused"), [(0.0, True), (0.99, True), (1.01, False)])
def test_samples_that_all_give_the_same_are_refused(spread, refused):
    expected = expectation([[0, 5], [spread, 5 + spread]])
    if refused:
        with pytest.raises(GateError, match=r"parity refused: .* between 2 samples, at least 1 is needed"):
            parity.require_spread(expected)
    else:
        parity.require_spread(expected)


def test_no_samples_at_all_prove_nothing():
    with pytest.raises(GateError, match="parity refused"):
        parity.require_spread(expectation(np.zeros((0, 2))))


# The verify stage, with the three processes replaced by what they would answer.

SAMPLES = len(MODEL.samples())
OUTPUTS = np.random.default_rng(4).uniform(-9, 9, (SAMPLES, 10)).astype(np.float32)
KEYS = {
    "torchserve": ("digits_cnn.pt", "digits_cnn.mar"),
    "tfserving": ("digits_cnn/1",),
    "tflite": ("digits_cnn_float32.tflite", "digits_cnn_int8.tflite"),
}
KEYS |= {name: (f"digits_cnn.{name}",) for name in TARGETS if name not in KEYS}
KEYS = {name: KEYS[name] for name in TARGETS}
ALL = [f"{target}/{name}" for target, names in KEYS.items() for name in names]
INT8 = "tflite/digits_cnn_int8.tflite"


@pytest.fixture
def exported(tmp_path):
    """An artifacts folder whose manifests are right, as `tandem export` leaves it."""
    for target, names in KEYS.items():
        folder = tmp_path / "digits_cnn" / target
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(f"{target} {name}")
        records = tuple(
            artifact.ArtifactRecord(
                target=target,
                path=name,
                format="f",
                precision="int8" if "int8" in name else "float32",
                variant=None,
                size_bytes=contents.size_bytes(folder / name),
                gzip_bytes=1,
                sha256=contents.sha256(folder / name),
                export_s=1,
                toolchain={},
            )
            for name in names
        )
        manifest = artifact.Manifest(
            key="k",
            model="digits_cnn",
            model_digest=MODEL.digest,
            target=target,
            artifacts=records,
            not_exported=(),
            files=contents.file_digests(folder, names),
        )
        artifact.write_manifest(folder, manifest)
    return tmp_path


class Answers:
    """Stands in for the processes; counts how often they were asked."""

    def __init__(self, monkeypatch, **changed):
        self.changed, self.asked = changed, 0
        monkeypatch.setattr(verifying, "run_tasks", self.run_tasks)

    def run_tasks(self, tasks, _):
        self.asked += 1
        return [Outcome(self.answer(task), 1.0) for task in tasks]

    def answer(self, task):
        folder, outputs, errors = task.arguments["folder"], {}, {}
        for key in (
            [one.key for one in task.arguments["wanted"]] if "wanted" in task.arguments else ["source"]
        ):
            found = self.changed.get(key, OUTPUTS)
            if isinstance(found, str):
                errors[key] = found
            else:
                outputs[key] = work._save({"logits": found}, folder, key.replace("/", "-"))
        return work.Answers(outputs, errors)


def quiet(title, text):
    pass


def test_artifacts_that_agree_pass_and_leave_a_proof(exported, monkeypatch):
    Answers(monkeypatch)
    verified = verifying.require(verifying.verify("digits_cnn", exported, quiet))
    subjects = [record.subject for records in verified.records.values() for record in records]
    assert subjects == ALL
    assert all(record.passed for records in verified.records.values() for record in records)
    assert (exported / "digits_cnn" / verifying.PROOF_NAME).is_file()


@pytest.mark.parametrize("wrong", [key for key in ALL if key != INT8])
def test_one_wrong_sample_of_any_artifact_stops_the_gate(exported, monkeypatch, wrong):
    got = OUTPUTS.copy()
    got[SAMPLES - 1, 9] += 1
    Answers(monkeypatch, **{wrong: got})
    verified = verifying.verify("digits_cnn", exported, quiet)
    with pytest.raises(GateError, match=f"{wrong} is not the source model: sample {SAMPLES - 1}"):
        verifying.require(verified)
    target = wrong.partition("/")[0]
    with pytest.raises(GateError, match=f"{wrong} is not the source model"):
        verifying.ensure_verified("digits_cnn", exported, quiet, [target])


def test_a_served_artifact_that_fails_leaves_no_proof_at_all(exported, monkeypatch):
    Answers(monkeypatch, **{"torchserve/digits_cnn.pt": OUTPUTS + 1})
    verifying.verify("digits_cnn", exported, quiet)
    assert not (exported / "digits_cnn" / verifying.PROOF_NAME).exists()


def labelled(share):
    """Outputs that classify that share of the held-out set as the labels have it, the rest otherwise."""
    labels = MODEL.samples().labels
    outputs = np.zeros_like(OUTPUTS)
    chosen = np.where(np.arange(SAMPLES) < round(share * SAMPLES), labels, (labels + 1) % 10)
    outputs[np.arange(SAMPLES), chosen] = 9
    return outputs


def with_source(monkeypatch, source, int8):
    return Answers(monkeypatch, **dict.fromkeys(("source", *ALL), source) | {INT8: int8})


def test_a_reduced_precision_is_asked_for_accuracy_not_for_figures(exported, monkeypatch):
    with_source(monkeypatch, labelled(1.0), labelled(0.992) * np.float32(1.1))
    verified = verifying.require(verifying.verify("digits_cnn", exported, quiet))
    float32, int8 = verified.records["tflite"]
    assert int8.passed
    assert int8.max_abs_error == pytest.approx(9.9)
    assert int8.max_accuracy_drop == 0.01
    assert int8.absolute_tolerance is None
    assert float32.max_accuracy_drop is None
    assert float32.absolute_tolerance == MODEL.tolerance.absolute


def test_a_reduced_precision_that_lost_accuracy_names_metric_found_and_allowed(exported, monkeypatch):
    with_source(monkeypatch, labelled(1.0), labelled(0.9))
    with pytest.raises(GateError) as caught:
        verifying.require(verifying.verify("digits_cnn", exported, quiet))
    assert str(caught.value) == (
        f"{INT8} is not the source model: accuracy 0.9000, the source model's is 1.0000: "
        "accuracy drop 0.1000, at most 0.01 is allowed; "
        "output error 0.471 of the source model's standard deviation, at most 0.2 is allowed"
    )


def test_a_bad_file_for_devices_forbids_no_server(exported, monkeypatch):
    answers = with_source(monkeypatch, labelled(1.0), labelled(0.5))
    assert verifying.verify("digits_cnn", exported, quiet).failures
    verified = verifying.ensure_verified("digits_cnn", exported, quiet)
    assert answers.asked == 1
    assert list(verified.records) == list(USUALLY_SERVED)


def test_proofs_of_targets_looked_at_apart_add_up(exported, monkeypatch):
    answers = Answers(monkeypatch)
    for targets in (["tflite"], ["torchserve", "tfserving"]):
        verifying.ensure_verified("digits_cnn", exported, quiet, targets)
    verifying.ensure_verified("digits_cnn", exported, quiet, ["torchserve", "tfserving", "tflite"])
    assert answers.asked == 2


@pytest.mark.parametrize("bad", ["tflite/digits_cnn_int8.tflite", "torchserve/digits_cnn.mar"])
def test_an_artifact_whose_process_dies_is_an_error_of_its_own(exported, monkeypatch, bad):
    answers = Answers(monkeypatch)

    def run_tasks(tasks, progress):
        if any(one.key == bad for task in tasks for one in task.arguments.get("wanted", ())):
            raise MachineError("it ended without a result")
        return answers.run_tasks(tasks, progress)

    monkeypatch.setattr(verifying, "run_tasks", run_tasks)
    verified = verifying.verify("digits_cnn", exported, quiet)
    assert verified.errors == {bad: "it ended without a result"}
    subjects = {record.subject for records in verified.records.values() for record in records}
    assert subjects == {*ALL} - {bad}


def test_a_machine_that_does_not_run_the_source_ends_it(exported, monkeypatch):
    def run_tasks(tasks, progress):
        raise MachineError("it ended without a result")

    monkeypatch.setattr(verifying, "run_tasks", run_tasks)
    with pytest.raises(MachineError, match="without a result"):
        verifying.verify("digits_cnn", exported, quiet)


def test_an_artifact_that_does_not_load_stops_the_gate(exported, monkeypatch):
    Answers(monkeypatch, **{"tflite/digits_cnn_float32.tflite": "it does not load"})
    with pytest.raises(GateError, match="it does not load"):
        verifying.require(verifying.verify("digits_cnn", exported, quiet))


def test_a_failure_takes_an_older_proof_away(exported, monkeypatch):
    Answers(monkeypatch)
    verifying.verify("digits_cnn", exported, quiet)
    Answers(monkeypatch, **{"tfserving/digits_cnn/1": OUTPUTS + 1})
    verifying.verify("digits_cnn", exported, quiet)
    assert not (exported / "digits_cnn" / verifying.PROOF_NAME).exists()


def test_outputs_without_spread_stop_the_gate(exported, monkeypatch):
    flat = np.ones_like(OUTPUTS)
    Answers(monkeypatch, source=flat, **{f"{t}/{n}": flat for t, names in KEYS.items() for n in names})
    with pytest.raises(GateError, match="parity refused"):
        verifying.verify("digits_cnn", exported, quiet)


def test_unchanged_artifacts_are_verified_once(exported, monkeypatch):
    answers = Answers(monkeypatch)
    first = verifying.ensure_verified("digits_cnn", exported, quiet)
    again = verifying.ensure_verified("digits_cnn", exported, quiet)
    assert answers.asked == 1
    assert again.records == first.records
    assert again.accuracy == first.accuracy
    np.testing.assert_array_equal(again.expected.primary.outputs, OUTPUTS)


def test_another_artifact_is_verified_anew(exported, monkeypatch):
    answers = Answers(monkeypatch)
    verifying.ensure_verified("digits_cnn", exported, quiet)
    folder = exported / "digits_cnn" / "tfserving"
    (folder / KEYS["tfserving"][0]).write_text("another")
    manifest = artifact.read_manifest(folder)
    (record,) = manifest.artifacts
    path = folder / record.path
    changed = record.model_copy(
        update={"sha256": contents.sha256(path), "size_bytes": contents.size_bytes(path)}
    )
    changes = {"artifacts": (changed,), "files": contents.file_digests(folder, [record.path])}
    artifact.write_manifest(folder, manifest.model_copy(update=changes))
    verifying.ensure_verified("digits_cnn", exported, quiet)
    assert answers.asked == 2


def test_a_tighter_tolerance_is_verified_anew(exported, monkeypatch):
    answers = Answers(monkeypatch)
    verifying.ensure_verified("digits_cnn", exported, quiet)
    tighter = dataclasses.replace(MODEL, tolerance=Tolerance(1e-9, 0.0))
    monkeypatch.setattr(verifying, "load_model", lambda _: tighter)
    verifying.ensure_verified("digits_cnn", exported, quiet)
    assert answers.asked == 2


def test_another_runtime_is_asked_anew_and_the_others_proof_stays(exported, monkeypatch):
    answers = Answers(monkeypatch)
    verifying.ensure_verified("digits_cnn", exported, quiet)
    monkeypatch.setattr(
        proof, "versions", lambda tools: {tool: "99" for tool in tools if tool == "ai-edge-litert"}
    )
    manifests = {name: artifact.read_manifest(exported / "digits_cnn" / name) for name in KEYS}
    assert "tflite" not in proof.proven_records(MODEL, exported / "digits_cnn", manifests)
    verifying.ensure_verified("digits_cnn", exported, quiet)
    assert answers.asked == 2
    verifying.ensure_verified("digits_cnn", exported, quiet)
    assert answers.asked == 2


@pytest.mark.parametrize("module", ["pipelines.targets.torchserve.runtime", "pipelines.targets.asking"])
def test_changed_code_that_asks_is_asked_through_anew(exported, monkeypatch, tmp_path, module):
    answers = Answers(monkeypatch)
    verifying.ensure_verified("digits_cnn", exported, quiet)
    changed, real = tmp_path / "changed.py", Path.read_bytes
    changed.write_text("another way to ask")
    found = Path(find_spec(module).origin)
    monkeypatch.setattr(Path, "read_bytes", lambda path: real(changed if path == found else path))
    verifying.ensure_verified("digits_cnn", exported, quiet)
    assert answers.asked == 2


@pytest.mark.parametrize("text", ["", "{", "[]", '{"model_digest": "x"}'])
def test_a_damaged_proof_is_no_proof(exported, monkeypatch, text):
    answers = Answers(monkeypatch)
    (exported / "digits_cnn" / verifying.PROOF_NAME).write_text(text)
    verifying.ensure_verified("digits_cnn", exported, quiet)
    assert answers.asked == 1


def test_a_truncated_artifact_is_refused_even_with_a_proof(exported, monkeypatch):
    Answers(monkeypatch)
    verifying.ensure_verified("digits_cnn", exported, quiet)
    (exported / "digits_cnn/torchserve/digits_cnn.pt").write_text("torch")
    with pytest.raises(GateError, match=r"digits_cnn\.pt has 5 bytes.* corrupt"):
        verifying.ensure_verified("digits_cnn", exported, quiet)


def test_nothing_exported_is_said_so(tmp_path):
    with pytest.raises(
        RequestError, match="holds no exported artifacts; run `tandem export digits_cnn --artifacts "
    ):
        verifying.verify("digits_cnn", tmp_path, quiet)


def test_a_target_that_was_not_exported_does_not_keep_the_others_from_being_verified(exported, monkeypatch):
    Answers(monkeypatch)
    shutil.rmtree(exported / "digits_cnn" / "tflite")
    verified = verifying.verify("digits_cnn", exported, quiet)
    assert not verified.failures
    assert "tflite" not in verified.records
    assert verified.absent == {"tflite": "not exported (`tandem export digits_cnn` does)"}
    with pytest.raises(RequestError, match="tflite holds no exported artifacts"):
        verifying.verify("digits_cnn", exported, quiet, ["tflite", "tfserving"])


def test_a_target_that_could_not_be_exported_is_listed_with_its_reason(exported, monkeypatch):
    Answers(monkeypatch)
    folder = exported / "digits_cnn" / "tflite"
    before = artifact.read_manifest(folder)
    shutil.rmtree(folder)
    folder.mkdir()
    refused = NotExportedRecord(
        target="tflite", format="tflite", precision="float32", variant=None, reason="no road takes aten::x"
    )
    manifest = before.model_copy(update={"artifacts": (), "files": {}, "not_exported": (refused,)})
    artifact.write_manifest(folder, manifest)
    verified = verifying.verify("digits_cnn", exported, quiet)
    assert (verified.failures, verified.absent) == ((), {"tflite": "no road takes aten::x"})


def test_a_proof_by_other_rules_is_verified_anew(exported, monkeypatch, tmp_path):
    answers = Answers(monkeypatch)
    verifying.ensure_verified("digits_cnn", exported, quiet)
    rule = tmp_path / "rule.py"
    rule.write_text("another bound")
    monkeypatch.setattr(proof, "RULES", (*proof.RULES, rule))
    verifying.ensure_verified("digits_cnn", exported, quiet)
    assert answers.asked == 2


def test_outputs_of_another_shape_are_an_error_of_their_artifact_alone(exported, monkeypatch):
    Answers(monkeypatch, **{INT8: OUTPUTS[:, :3]})
    verified = verifying.verify("digits_cnn", exported, quiet)
    assert list(verified.errors) == [INT8]
    assert "shape" in verified.errors[INT8]
    assert verified.failures == (verified.errors[INT8],)


def test_an_artifact_that_does_not_answer_every_sample_does_not_pass(tmp_path, monkeypatch):
    two = SimpleNamespace(predict=lambda *_, outputs: {outputs[0]: OUTPUTS[:2]})
    monkeypatch.setattr(work, "load_model", lambda _: MODEL)
    monkeypatch.setattr("importlib.import_module", lambda _: two)
    wanted = [work.Wanted("torchserve/a.pt", "torchserve", Path("a.pt"), "torchscript")]
    tensors.save(tmp_path / verifying.SAMPLES_NAME, MODEL.samples().named)
    found = work.artifact_outputs(str, "digits_cnn", tmp_path, wanted)
    assert found.outputs == {}
    assert f"shape (2, 10) for {SAMPLES} samples" in found.errors["torchserve/a.pt"]


def test_a_relative_tolerance_that_a_constant_would_keep_proves_nothing():
    outputs = 1000 + np.arange(9, dtype=np.float32)[:, None]
    with pytest.raises(GateError, match="median output is within tolerance on 100%"):
        parity.require_spread(expectation(outputs, tolerance=Tolerance(1e-6, 1e-2)))
    parity.require_spread(expectation(outputs, tolerance=Tolerance(1e-6, 1e-6)))


WORDS = Expectation(np.array([b"a", b"bc", b"a"]), None, Tolerance(0, 0), "none", name="word")


def test_strings_are_the_same_or_not():
    same = parity.compare("it", np.array([b"a", b"bc", b"a"], "S9"), WORDS)
    assert (same.passed, same.top1_agreement, same.max_abs_error, same.output_error) == (True, 1, 0, None)
    other = parity.compare("it", np.array([b"a", b"b", b"a"]), WORDS)
    assert (other.passed, other.top1_agreement) == (False, pytest.approx(2 / 3))
    assert "expected 'bc', got 'b'" in parity.explain(other)
    with pytest.raises(GateError, match="numbers where the source model gives strings"):
        parity.compare("it", np.zeros(3), WORDS)
    parity.require_spread(WORDS)
    with pytest.raises(GateError, match="parity refused"):
        parity.require_spread(dataclasses.replace(WORDS, outputs=np.array([b"a", b"a"])))
