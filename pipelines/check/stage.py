"""The check stage: what a spec says about its model, claim by claim, against the model itself."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from models.samples import Samples, checked
from models.signature import STRING
from models.spec import ModelError, ModelSpec, load_model, model_names
from models.tensors import Array, Tensors, count, is_ragged, is_text, take
from models.truth import Truth
from models.weights import load_source, read_checkpoint
from pipelines.check.place import place_of
from pipelines.errors import GateError, RequestError
from pipelines.parity import tensorflow_source
from pipelines.parity.agreement import is_constant, output_spread, require_spread
from pipelines.parity.quality import KAPPA_Z, Expectation, expectations_of, kappa_z, shapes_of
from pipelines.parity.words import worth
from pipelines.tasks.tasks import Progress, run_tasks, task_of

LIMIT_S = 900.0
# So many samples are asked in every way; of a fast model all of them, once more, for its quality.
FEW = 32
QUALITY_S = 5.0
State = Literal["ok", "wrong", "note", "untested"]


@dataclass(frozen=True)
class Claim:
    """One thing that a spec says or that a source model has to be.

    `found` is what is the case, or the mistake; `place` the line it is about, as FILE:LINE. A `note` is no
    mistake and worth a look; `untested` is what could not be tested because of an earlier mistake.
    """

    what: str
    state: State
    found: str
    place: str | None = None


def check(model: str, progress: Progress) -> list[Claim]:
    """Test every claim of a model's spec, in a process of its own; nothing is exported and nothing written.

    Raises:
        ModelError: there is no such model or file.
        RequestError: it was imported as files.
        MachineError: the process died.
    """
    if model.endswith(".py") and not Path(model).is_file():
        raise ModelError(f"model file {model} does not exist; `tandem init {model}` writes one")
    if not model.endswith(".py") and load_model(model).given is not None:
        raise RequestError(
            f"{model} was imported as files and has no spec to check; run `tandem verify {model}`"
        )
    (outcome,) = run_tasks([task_of("check", LIMIT_S, check_here, model=model)], progress)
    return outcome.result


def check_here(progress: Callable[[str], None], model: str) -> list[Claim]:
    """Check the model in this process."""
    return _Examination(model, progress).run()


class _FailedError(Exception):
    """A claim was wrong; what depends on it cannot be tested."""


class _Examination:
    def __init__(self, model: str, progress: Callable[[str], None]) -> None:
        self.model, self.progress = model, progress
        self.file = _file_of(model)
        self.claims: list[Claim] = []

    def run(self) -> list[Claim]:
        """Check all claims, in an order in which each needs those before it."""
        try:
            spec = self._load()
        except _FailedError:
            return self.claims
        state = self._attempt(lambda: self._checkpoint(spec), "architecture")
        if state:
            state = self._attempt(lambda: self._architecture(spec))
        samples = self._attempt(lambda: self._samples(spec), "labels", "calibration samples")
        labelled = samples is not None and self._attempt(lambda: self._labels(spec, samples))
        if samples is not None:
            self._attempt(lambda: self._calibration(spec))
        if state and samples is not None:
            outputs = self._attempt(lambda: self._source(spec, samples.named))
            if outputs is not None and labelled:
                self._attempt(lambda: self._quality(spec, samples, outputs))
        else:
            self._untested("source model")
        return self.claims

    def _attempt(self, step: Callable[[], Any], *depending: str) -> Any:
        """Return what the step gives; after a wrong claim return None and mark `depending` untested."""
        try:
            result = step()
        except _FailedError:
            self._untested(*depending)
            return None
        return True if result is None else result

    def _untested(self, *what: str) -> None:
        self.claims += [Claim(subject, "untested", "not tested: see above") for subject in what]

    def _ok(self, what: str, detail: str) -> None:
        self.claims.append(Claim(what, "ok", detail))

    @contextmanager
    def _claim(self, what: str, keyword: str | None) -> Iterator[None]:
        """Blame this claim for whatever is raised.

        Raises:
            _FailedError: there was one.
        """
        self.progress(what)
        try:
            yield
        except (Exception, SystemExit) as error:
            message, place = place_of(error, self.file, keyword)
            foreign = not isinstance(error, ModelError | GateError)
            detail = f"{type(error).__name__}: {message}" if foreign else message
            self.claims.append(Claim(what, "wrong", detail, place))
            raise _FailedError from error

    def _load(self) -> ModelSpec:
        with self._claim("file", None):
            spec = load_model(self.model)
        self._ok("file", f"model {spec.name}, digest over {len(spec.sources)} files and the checkpoint")
        for kind, tensors in (("input", spec.inputs), ("output", spec.outputs)):
            for tensor in tensors:
                sizes = ", ".join(["batch", *("any" if n is None else str(n) for n in tensor.shape[1:])])
                self._ok(f"{kind} {tensor.name}", f"{tensor.dtype} ({sizes})")
        return spec

    def _checkpoint(self, spec: ModelSpec) -> None:
        with self._claim("checkpoint", "checkpoint"):
            state = read_checkpoint(spec)
        parameters = sum(tensor.size for tensor in state.values() if tensor.dtype.kind == "f")
        dtypes = ", ".join(sorted({str(tensor.dtype) for tensor in state.values()}))
        self._ok("checkpoint", f"{len(state)} tensors, {parameters} parameters, {dtypes}")

    def _architecture(self, spec: ModelSpec) -> object:
        with self._claim("architecture", "build_torch"):
            module = tensorflow_source.load(spec) if spec.text_tensors else load_source(spec)
        self._ok("architecture", f"{type(module).__name__} takes every tensor of the checkpoint")
        return module

    def _samples(self, spec: ModelSpec) -> Samples:
        with self._claim("samples", "test_samples"):
            samples = checked(spec.name, spec.test_samples(), spec.inputs)
        for tensor in spec.inputs:
            self._ok(f"samples of {tensor.name}", _described(samples.named[tensor.name]))
        return samples

    def _labels(self, spec: ModelSpec, samples: Samples) -> None:
        with self._claim("labels", "test_samples"):
            truths = spec.truths(samples)
        for name, truth in truths.items():
            self._ok(f"labels of {name}", _known(truth))

    def _calibration(self, spec: ModelSpec) -> None:
        with self._claim("calibration samples", "train_samples"):
            training = spec.training()
        if training is None:
            note = "none (train_samples): full-integer files need some, nothing else does"
            self.claims.append(Claim("calibration samples", "note", note))
        else:
            self._ok("calibration samples", f"{len(training)}")

    def _source(self, spec: ModelSpec, inputs: Tensors) -> dict[str, Array]:
        from pipelines.parity.source import CHECKS, outputs_of, plain_outputs

        passed: list[str] = []
        few = take(inputs, slice(FEW))
        try:
            outputs = outputs_of(spec, few, passed.append)
        except (Exception, SystemExit) as error:
            self.claims += [Claim(f"source model {name}", "ok", "") for name in passed]
            with self._claim(f"source model {CHECKS[len(passed)]}", "build_torch"):
                raise error from error.__cause__
        self.claims += [Claim(f"source model {name}", "ok", _asked(count(few))) for name in passed]
        started = time.monotonic()
        plain_outputs(spec, few)
        each_s = (time.monotonic() - started) / count(few)
        affordable = take(inputs, slice(max(FEW, int(QUALITY_S / each_s))))
        if count(affordable) == count(few):
            return outputs
        with self._claim("source model answers every sample", "build_torch"):
            return plain_outputs(spec, affordable)

    def _quality(self, spec: ModelSpec, samples: Samples, outputs: Tensors) -> None:
        samples_count = count(outputs)
        with self._claim("labels", "test_samples"):
            expected = expectations_of(spec, samples, outputs)
        changing = {expectation.name for expectation in expected if not is_constant(expectation.outputs)}
        for expectation in expected:
            name = f"output {expectation.name}"
            if changing and expectation.name not in changing:
                self.claims.append(Claim(name, "note", "the same for every sample; others differ"))
                continue
            with self._claim(name, expectation.name):
                require_spread(expectation)
            spread = output_spread(expectation.outputs)
            self._ok(name, f"{worth(expectation)}; {_asked(samples_count)}, spread {spread:.3g}")
            doubt = _doubt(spec, samples, expectation, samples_count)
            if doubt:
                self.claims.append(Claim(f"labels of {expectation.name}", "note", doubt))


def _file_of(model: str) -> Path:
    if model in model_names():
        import models

        return Path(models.__path__[0]) / model / "__init__.py"
    return Path(model)


def _doubt(spec: ModelSpec, samples: Samples, expected: Expectation, samples_count: int) -> str | None:
    """Doubt labels that a source model does not agree with: they, or its inputs, are in another order."""
    truth = spec.truths(samples)[expected.name or ""]
    if truth.labels is None or is_ragged(truth.labels) or truth.labels.ndim != 1:
        return None
    labels = np.asarray(truth.labels[:samples_count], np.int64)
    as_classes = Expectation(expected.outputs, labels, expected.tolerance, "classes")
    choices = as_classes.choices(expected.outputs)
    if choices is None or choices.min() < 0 or kappa_z(choices, labels) >= KAPPA_Z:
        return None
    share = float((choices == labels).mean())
    return (
        f"the source model's choice is the label on {share:.0%} of {samples_count} samples, no more than by "
        "chance: are labels in another order, inputs scaled otherwise, or the weights not the trained ones?"
    )


def _described(array: Array) -> str:
    shapes = sorted(set(shapes_of(array)))
    dtype = STRING if is_text(array) else np.asarray(array[0]).dtype
    if len(shapes) == 1:
        return f"{len(array)} of {dtype} {_sizes(shapes[0])}"
    return f"{len(array)} of {dtype}, {len(shapes)} shapes from {_sizes(shapes[0])} to {_sizes(shapes[-1])}"


def _sizes(shape: Sequence[int]) -> str:
    return f"({', '.join(map(str, shape))})"


def _known(truth: Truth) -> str:
    if truth.targets is not None:
        return f"{len(truth.targets)} values"
    if truth.labels is None:
        return "none: artifacts are held to the source model's own outputs"
    each = [np.asarray(label).reshape(-1) for label in truth.labels]
    values = np.concatenate(each)
    counted = values[values >= 0]
    positions = "" if all(label.size == 1 for label in each) else f" at {counted.size} positions"
    return f"{len(each)} samples{positions}, {len(np.unique(counted))} different classes"


def _asked(samples: int) -> str:
    return f"on {samples} samples"
