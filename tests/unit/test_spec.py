import dataclasses
import inspect
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import models.digits_cnn
from models.digits_cnn import MODEL as DIGITS
from models.spec import ModelError, ModelSpec, Samples, TensorSpec, Tolerance, load_model, model_names

NO_MODEL = "x = 1\n"
RENAMED = """
import dataclasses
from models.digits_cnn import MODEL as DIGITS
MODEL = dataclasses.replace(DIGITS, name="mine")
"""
BROKEN = "import missing_library_of_nobody\n"


def samples(count=3, shape=(2,), labels_count=None):
    labels = np.zeros(count if labels_count is None else labels_count, np.int64)
    return Samples(np.zeros((count, *shape), np.float32), labels)


@pytest.fixture
def a_spec(tmp_path):
    checkpoint, source = tmp_path / "checkpoint.safetensors", tmp_path / "architecture.py"
    checkpoint.write_bytes(b"weights")
    source.write_text("code")

    def build(**changes):
        fields = {
            "name": "tiny",
            "inputs": (TensorSpec("x", "float32", (None, 2)),),
            "outputs": (TensorSpec("y", "float32", (None, 3)),),
            "labels": ("a", "b", "c"),
            "tolerance": Tolerance(1e-4, 1e-4),
            "checkpoint": checkpoint,
            "build_torch": lambda: None,
            "test_samples": samples,
            "train_samples": samples,
            "sources": (source,),
        }
        return ModelSpec(**(fields | changes))

    return build


def test_the_shipped_model_is_found_by_name():
    assert "digits_cnn" in model_names()
    assert load_model("digits_cnn") is DIGITS


def test_a_misspelt_model_gets_the_nearest_name_and_all_names():
    with pytest.raises(ModelError, match=r"'digit_cnn'; did you mean digits_cnn\? known: .*digits_cnn"):
        load_model("digit_cnn")


def test_a_name_like_nothing_gets_no_suggestion():
    with pytest.raises(ModelError) as caught:
        load_model("zzz")
    assert "did you mean" not in str(caught.value)
    assert "digits_cnn" in str(caught.value)


def test_a_model_can_be_a_file_anywhere(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(RENAMED)
    spec = load_model(str(path))
    assert spec.build_torch is DIGITS.build_torch
    assert (spec.origin, spec.argument) == (path, str(path))


def test_a_file_that_takes_the_name_of_a_shipped_model_is_refused(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("from models.digits_cnn import MODEL\n")
    with pytest.raises(
        ModelError, match=r"mine\.py calls its model 'digits_cnn', as a model of this package"
    ):
        load_model(str(path))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (NO_MODEL, "defines no `MODEL = ModelSpec"),
        ("MODEL = 'digits_cnn'\n", "defines no `MODEL = ModelSpec"),
        (BROKEN, "failed to load: ModuleNotFoundError: No module named 'missing_library_of_nobody'"),
        ("def broken(:\n", "failed to load: SyntaxError"),
        ("1 / 0\n", "failed to load: ZeroDivisionError"),
        ("import sys\nsys.exit(0)\n", "failed to load: SystemExit: 0"),
        ("raise GeneratorExit\n", "failed to load: GeneratorExit"),
        ("class E(Exception):\n    def __str__(self): return 1 / 0\nraise E\n", "failed to load: E"),
    ],
)
def test_a_model_file_that_does_not_fit_is_named_with_the_reason(tmp_path, text, said):
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(ModelError) as caught:
        load_model(str(path))
    assert said in str(caught.value)
    assert str(path) in str(caught.value)


NOISY = """
import os, subprocess, sys
print("printed")
os.write(1, b"written\\n")
subprocess.run([sys.executable, "-c", "print('by a child')"])
"""


def test_what_a_model_file_prints_is_no_result(tmp_path, capfd, a_spec):
    path = tmp_path / "mine.py"
    path.write_text(NOISY + RENAMED)
    load_model(str(path))
    a_spec(test_samples=lambda: (sys.stdout.write("of samples\n"), samples())[1]).samples()
    sys.stdout.write("a result\n")
    seen = capfd.readouterr()
    assert seen.out == "a result\n"
    assert {"printed", "written", "by a child", "of samples"} <= set(seen.err.splitlines())


@pytest.mark.parametrize(
    "error", [FileNotFoundError(2, "no such file", "x.npy"), SystemExit(0), KeyError("y")]
)
@pytest.mark.parametrize(("ask", "name"), [("samples", "test_samples"), ("training", "train_samples")])
def test_samples_that_cannot_be_had_are_the_model_files_fault(a_spec, error, ask, name):
    def fail():
        raise error

    with pytest.raises(ModelError, match=f"{name} of tiny failed: {type(error).__name__}: "):
        getattr(a_spec(**{name: fail}), ask)()


def test_a_missing_model_file_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"nowhere\.py does not exist"):
        load_model(str(tmp_path / "nowhere.py"))


def test_what_a_model_file_says_about_itself_is_passed_on_unchanged(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("from models.spec import ModelError\nraise ModelError('give me a checkpoint')\n")
    with pytest.raises(ModelError, match=r"^give me a checkpoint$"):
        load_model(str(path))


@pytest.mark.parametrize("shape", [(), (1, 2), (2,)])
def test_the_batch_dimension_must_be_dynamic(shape):
    with pytest.raises(ModelError, match=r"'x' has shape .* must be None"):
        TensorSpec("x", "float32", shape)


@pytest.mark.parametrize("name", ["", "a b", "a/b", "../a", "a-b", "é", "a.b"])
def test_a_name_that_would_not_do_as_a_file_name_is_refused(a_spec, name):
    with pytest.raises(ModelError, match="only letters, digits and underscores"):
        a_spec(name=name)


@settings(max_examples=25)
@given(name=st.from_regex(r"[A-Za-z0-9_]{1,20}", fullmatch=True))
def test_letters_digits_and_underscores_make_a_name(name):
    assert dataclasses.replace(DIGITS, name=name).name == name


def test_inputs_and_outputs_need_names_of_their_own(a_spec):
    two = (TensorSpec("x", "float32", (None, 2)), TensorSpec("x", "float32", (None, 2)))
    with pytest.raises(ModelError, match="two are called 'x'"):
        a_spec(inputs=two)
    with pytest.raises(ModelError, match="outputs of tiny: there are none"):
        a_spec(outputs=())


def test_samples_of_another_shape_than_the_signature_are_refused(a_spec):
    with pytest.raises(ModelError, match=r"shape \(5,\) .*input 'x' says \(2,\)"):
        a_spec(test_samples=lambda: samples(shape=(5,))).samples()


@pytest.mark.parametrize("labels_count", [2, 4])
def test_every_sample_needs_its_label(a_spec, labels_count):
    with pytest.raises(ModelError, match=f"3 sample inputs for {labels_count} labels"):
        a_spec(test_samples=lambda: samples(labels_count=labels_count)).samples()


@pytest.mark.parametrize("label", [3, -1])
def test_a_label_that_is_no_class_is_refused(a_spec, label):
    labelled = Samples(np.zeros((1, 2), np.float32), np.array([label], np.int64))
    with pytest.raises(ModelError, match="label"):
        a_spec(test_samples=lambda: labelled).samples()


def test_the_held_out_digits_fit_the_signature_and_are_not_trained_on():
    held_out, trained = DIGITS.samples(), DIGITS.train_samples()
    assert held_out.inputs.shape == (450, 8, 8, 1)
    assert held_out.inputs.dtype == np.float32
    assert sorted(set(held_out.labels.tolist())) == list(range(10))
    # The set holds a few identical images; a split that leaks would share far more.
    seen = {image.tobytes() for image in trained.inputs}
    assert sum(image.tobytes() in seen for image in held_out.inputs) == 0


def test_the_digest_changes_with_everything_that_decides_the_outputs(a_spec, tmp_path):
    other_weights, other_code = tmp_path / "other.safetensors", tmp_path / "other.py"
    other_weights.write_bytes(b"Weights")
    other_code.write_text("Code")
    digests = [
        a_spec().digest,
        a_spec(name="other").digest,
        a_spec(inputs=(TensorSpec("z", "float32", (None, 2)),)).digest,
        a_spec(inputs=(TensorSpec("x", "float16", (None, 2)),)).digest,
        a_spec(inputs=(TensorSpec("x", "float32", (None, 4)),)).digest,
        a_spec(outputs=(TensorSpec("z", "float32", (None, 3)),)).digest,
        a_spec(labels=("b", "a", "c")).digest,
        a_spec(checkpoint=other_weights).digest,
        a_spec(sources=(other_code,)).digest,
    ]
    assert len(set(digests)) == len(digests)


def test_the_digest_does_not_depend_on_where_the_files_are(a_spec, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("checkpoint.safetensors", "architecture.py"):
        (elsewhere / name).write_bytes((tmp_path / name).read_bytes())
    moved = a_spec(checkpoint=elsewhere / "checkpoint.safetensors", sources=(elsewhere / "architecture.py",))
    assert moved.digest == a_spec().digest


def test_a_missing_checkpoint_says_how_to_get_one(a_spec, tmp_path):
    spec = a_spec(checkpoint=tmp_path / "none.safetensors")
    with pytest.raises(
        ModelError, match=r"none\.safetensors of tiny is missing; say in the spec where it is"
    ):
        _ = spec.digest
    trainable = dataclasses.replace(spec, train=lambda *_: {})
    with pytest.raises(ModelError, match=r"none\.safetensors of tiny is missing; run `tandem train tiny`"):
        _ = trainable.digest


def test_hints_name_the_path_that_was_typed(tmp_path, monkeypatch):
    text = inspect.getsource(models.digits_cnn).replace('"checkpoint.safetensors"', '"none.safetensors"')
    (tmp_path / "my model.py").write_text(text.replace('name="digits_cnn"', 'name="mine"'))
    monkeypatch.chdir(tmp_path)
    spec = load_model("my model.py")
    assert (spec.argument, load_model("digits_cnn").argument) == ("'my model.py'", "digits_cnn")
    with pytest.raises(ModelError, match=r"run `tandem train 'my model\.py'`"):
        _ = spec.digest


def test_reading_a_spec_imports_no_framework():
    code = (
        "import sys; from models.spec import load_model; load_model('digits_cnn').digest;"
        "print(sorted({'torch', 'tensorflow', 'keras'} & set(sys.modules)))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "values", [(-1, 0), (float("nan"), 0), (float("inf"), 0), (0, 1), (0, -0.1), (0, 3.0), (0, 0, 1.0)]
)
def test_a_tolerance_that_lets_everything_or_nothing_pass_is_refused(values):
    with pytest.raises(ModelError, match=r"tolerance \w+ is "):
        Tolerance(*values)


def test_a_task_that_does_not_exist_is_refused(a_spec):
    with pytest.raises(
        ModelError, match="task of tiny is 'boxes'; allowed: classes, regression, tokens, none"
    ):
        a_spec(task="boxes")


TEXT = TensorSpec("text", "string", (None,))


def test_strings_are_kerass_and_have_no_task(a_spec):
    with pytest.raises(ModelError, match="PyTorch has none"):
        a_spec(inputs=(TEXT,))
    label = TensorSpec("label", "string", (None,))
    with pytest.raises(ModelError, match="equal or not"):
        a_spec(outputs=(label,), labels=(), task="classes", whole=True)
    spec = a_spec(inputs=(TEXT,), outputs=(label,), labels=(), tolerance=Tolerance(1, 0.5), whole=True)
    assert spec.tolerance_of("label") == Tolerance(0, 0)


@pytest.mark.parametrize("given", [["ä", b"bc"], np.array(["ä", "bc"]), np.array(["ä", b"bc"], object)])
def test_samples_of_strings_are_bytes_whatever_they_were(a_spec, given):
    spec = a_spec(inputs=(TEXT,), whole=True, test_samples=lambda: Samples(given))
    assert spec.samples().named["text"].tolist() == ["ä".encode(), b"bc"]


@pytest.mark.parametrize("given", [[1, 2], ["a\0", "b"], np.zeros(2)])
def test_what_is_no_string_is_refused(a_spec, given):
    with pytest.raises(ModelError, match="are no strings"):
        a_spec(inputs=(TEXT,), whole=True, test_samples=lambda: Samples(given)).samples()


def test_a_spec_with_outputs_by_name_can_be_cached(a_spec):
    spec = a_spec(task={"y": "classes"}, tolerance={"y": Tolerance(1e-4, 1e-4)})
    assert len({spec, dataclasses.replace(spec), a_spec()}) == 2


def test_a_model_without_labels_says_so_with_none_or_not_at_all(a_spec):
    unlabelled = a_spec(labels=None, test_samples=lambda: Samples(np.zeros((3, 2), np.float32), None))
    assert unlabelled.labels == ()
    truth = unlabelled.truths(unlabelled.samples())["y"]
    assert truth.labels is truth.targets is None
    assert unlabelled.digest == a_spec(labels=()).digest


def test_five_labels_for_two_columns_are_refused(a_spec):
    with pytest.raises(ModelError, match="5 labels for an output of 2 columns; allowed: 0 or 2"):
        a_spec(outputs=(TensorSpec("y", "float32", (None, 2)),), labels=tuple("abcde"))


def test_labels_of_whole_numbers_may_be_as_many_as_there_are_classes(a_spec):
    classes = a_spec(outputs=(TensorSpec("y", "int64", (None,)),), labels=tuple("abcde"), task="classes")
    assert classes.labels_of("y") == tuple("abcde")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            b"\x08\0\0\0\0\0\0\0{}      ",
            "weights of PyTorch; .*`tandem init my_model.py --from '.*net'`",
        ),
        (b"\x80\x02\x8a\nl\xfcF\xf9 j\xa8P", "it is weights of PyTorch"),
        (b"\x1c\0\0\0TFL3", "it is a TFLite model"),
        (b"\x89HDF\r\n\x1a\n", "it is a Keras model"),
        (b"noise", "it is no file that is known here"),
    ],
)
def test_a_file_that_is_no_spec_is_recognised_and_answered_with_what_to_type(tmp_path, content, said):
    (tmp_path / "a net").write_bytes(content)
    with pytest.raises(ModelError, match=said):
        load_model(str(tmp_path / "a net"))


def test_a_folder_of_anything_is_an_unknown_model(tmp_path):
    with pytest.raises(ModelError, match="unknown model"):
        load_model(str(tmp_path))


def test_a_saved_model_is_recognised(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"")
    with pytest.raises(ModelError, match="it is a SavedModel"):
        load_model(str(tmp_path))
