"""What a model must say about itself. No framework is imported here: the callables do that when called."""

import hashlib
import json
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import numpy.typing as npt

from models.checkpoint import CheckpointError
from models.errors import ModelError, about
from models.given import DEFAULT_ROOT, Given, digest_of_given
from models.labels import require_labels
from models.recipe import Recipe
from models.running import run
from models.samples import Samples, checked
from models.signature import TensorSpec, tensors
from models.stored import digest_of_files, files_of_checkpoint
from models.tolerance import EXACT, Tolerance
from models.truth import Task, Truth, classes_of, require_task, truth_of

if TYPE_CHECKING:
    import torch

FloatArray = npt.NDArray[np.float32]
Labels = Sequence[str] | Mapping[str, Sequence[str]]


TRAINING = ("train.py", "recipe.py")
"""Files of a shipped model that say how it came about and not what it computes."""


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """One trained model.

    Attributes:
        name: letters, digits and underscores; names files, endpoints and folders.
        inputs: one or more tensors, in the order in which forward takes them.
        outputs: one or more tensors, in the order of what forward returns: one tensor, a tuple or list (also
            nested, read from left to right), or a dict of these names.
        labels: class names in output order, one per column, or none (`()` or None); of a single column its
            name, or those of 0 and of 1. Of the first output, or by the output's name.
        tolerance: how far an artifact's outputs may be from the source model's; one for all outputs, or by
            the output's name.
        checkpoint: the state dict of `build_torch()`: a safetensors file, a `.pt` or `.pth` that PyTorch
            reads with `weights_only=True`, an index of shards, or a folder as Hugging Face's libraries write.
        build_torch: returns the untrained `torch.nn.Module`; its forward takes and gives the tensors above.
        test_samples: held-out examples, with labels where they are known, never used in training.
        train_samples: examples of what the model is given, for calibration: those it was trained on, or a
            calibration set; None where there are none, then nothing can be quantised to full integers.
        build_keras: returns the Keras twin holding the given state dict; None if the model has no twin.
        train: trains from scratch and writes the checkpoint and its training record beside it.
        recipe: how it is trained where two frameworks train it alike; None where that is not known.
        sources: files whose text decides what the model computes, for its digest; of a model
            file they are found (`models.imported`).
        task: what the outputs are, of the first output or by the output's name: "classes" (scores of classes
            per sample), "tokens" (scores of classes at every position), "regression", or "none"; None: to be
            derived from the samples (`pipelines.parity.quality`).
        ignored: names of checkpoint tensors, or patterns with `*`, that the architecture or the twin has no
            use for, as saved masks and position numbers.
        origin: the file it was read from, as it was named; None for a model of this package.
        whole: whether what is built holds its weights already, as what Keras reads from its own files.
        given: what was imported, of a model that came as files.
    """

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    tolerance: Tolerance | Mapping[str, Tolerance]
    checkpoint: Path
    build_torch: Callable[[], "torch.nn.Module"]
    test_samples: Callable[[], Samples]
    labels: Labels | None = ()
    train_samples: Callable[[], Samples] | None = None
    build_keras: Callable[[Mapping[str, FloatArray]], Any] | None = None
    train: Callable[[Path, Callable[[str], None]], dict[str, Any]] | None = None
    recipe: Recipe | None = None
    sources: tuple[Path, ...] = ()
    task: Task | Mapping[str, Task] | None = None
    ignored: tuple[str, ...] = ()
    origin: Path | None = None
    whole: bool = False
    given: Given | None = None

    def __post_init__(self) -> None:
        self._require_name()
        self._require_parts()
        for what in ("inputs", "outputs"):
            with about(what):
                object.__setattr__(self, what, tensors(self.name, what, getattr(self, what)))
        for what in ("labels", "tolerance", "task"):
            with about(what):
                self._require_outputs(what)
        with about("task"):
            self._require_tasks()
        if self.text_tensors and not self.whole and self.given is None:
            raise ModelError(
                f"{self.name} has strings at {self.text_tensors[0]!r}, and PyTorch has none; describe a "
                "Keras model (models.keras_source.keras_spec), or import a SavedModel (tandem import)"
            )
        # A list will do; the digest and everything after it see a tuple.
        with about("labels"):
            named = {
                output.name: require_labels(self.name, self._of(output, self.labels, ()), classes_of(output))
                for output in self.outputs
            }
        by_name = isinstance(self.labels, Mapping)
        object.__setattr__(self, "labels", named if by_name else named[self.outputs[0].name])

    def _require_name(self) -> None:
        name = self.name if isinstance(self.name, str) else ""
        if not name.replace("_", "a").isalnum() or not name.isascii():
            with about("name"):
                raise ModelError(
                    f"model name {self.name!r}: only letters, digits and underscores are allowed"
                )

    def _require_tasks(self) -> None:
        """Raise ModelError if an output's task is none of ours, or not one for such an output."""
        for output in self.outputs:
            task = self.task_of(output.name)
            if task not in (None, *get_args(Task)):
                raise ModelError(f"task of {self.name} is {task!r}; allowed: {', '.join(get_args(Task))}")
            require_task(self.name, output, task)

    def _require_parts(self) -> None:
        """Raise ModelError if a part is of another kind than declared."""
        object.__setattr__(self, "labels", () if self.labels is None else self.labels)
        with about("checkpoint"):
            self._require_checkpoint()
        for name in ("build_torch", "test_samples", "train_samples", "build_keras", "train"):
            with about(name):
                self._require_function(name, needed=name in ("build_torch", "test_samples"))
        with about("tolerance"):
            self._require_tolerances()
        with about("recipe"):
            self._require_recipe()
        if isinstance(self.ignored, str) or not all(isinstance(ignored, str) for ignored in self.ignored):
            with about("ignored"):
                raise ModelError(
                    f"ignored of {self.name} is {self.ignored!r:.60}; a tuple of names is needed"
                )

    def _require_checkpoint(self) -> None:
        try:
            object.__setattr__(self, "checkpoint", Path(self.checkpoint))
        except TypeError as error:
            raise ModelError(
                f"checkpoint of {self.name} is {self.checkpoint!r:.60}; a path is needed"
            ) from error

    def _require_function(self, name: str, *, needed: bool) -> None:
        part = getattr(self, name)
        if not callable(part) and (needed or part is not None):
            raise ModelError(f"{name} of {self.name} is {part!r:.60}; a function is needed")

    def _require_tolerances(self) -> None:
        tolerances = self.tolerance.values() if isinstance(self.tolerance, Mapping) else [self.tolerance]
        for tolerance in tolerances:
            if not isinstance(tolerance, Tolerance):
                raise ModelError(
                    f"tolerance of {self.name} is {tolerance!r:.60}; Tolerance(absolute=1e-4, relative=1e-4) "
                    "or the like is needed, or one by each output's name"
                )

    def _require_recipe(self) -> None:
        if not isinstance(self.recipe, Recipe | None):
            raise ModelError(
                f"recipe of {self.name} is {self.recipe!r:.60}; Recipe(samples=…, epochs=…, learning_rate=…) "
                "is needed, or none"
            )

    def ignores(self, tensor: str) -> bool:
        """Return whether the checkpoint's tensor of that name is declared to be of no use."""
        return any(fnmatchcase(tensor, pattern) for pattern in self.ignored)

    @property
    def argument(self) -> str:
        """What to type for this model after `tandem COMMAND`."""
        if self.given is not None:
            root = self.given.folder.parent
            return self.name if root.parent == DEFAULT_ROOT else shlex.quote(str(root))
        return self.name if self.origin is None else shlex.quote(str(self.origin))

    @property
    def or_train(self) -> str:
        """How a message about the checkpoint goes on, where the model can be trained again."""
        return f" or run `tandem train {self.argument}`" if self.train else ""

    @property
    def remedy(self) -> str:
        """What to do about a checkpoint that cannot be used."""
        return f"restore it{self.or_train}"

    def __hash__(self) -> int:
        """Hash what tells models apart; what is given by output is a dict, which has no hash."""
        return hash((self.name, self.checkpoint))

    def _require_outputs(self, what: str) -> None:
        """Raise ModelError if what is given by output names one that the model lacks, or misses one."""
        by_output, names = getattr(self, what), [output.name for output in self.outputs]
        if not isinstance(by_output, Mapping):
            return
        unknown = [name for name in by_output if name not in names]
        floats = [output.name for output in self.outputs if output.is_float]
        missing = [name for name in floats if name not in by_output] if what == "tolerance" else []
        if unknown or missing:
            problem = f"names {unknown[0]!r}" if unknown else f"has nothing for {missing[0]!r}"
            raise ModelError(f"{what} of {self.name} {problem}; its outputs are {', '.join(names)}")

    def _of(self, output: TensorSpec, value: Any, otherwise: Any) -> Any:
        """Return what is given for one output: by its name, or for the first one."""
        if isinstance(value, Mapping):
            return value.get(output.name, otherwise)
        return value if output is self.outputs[0] else otherwise

    def find_output(self, name: str) -> TensorSpec:
        """Return the output called `name`."""
        return next(output for output in self.outputs if output.name == name)

    def labels_of(self, output: str) -> tuple[str, ...]:
        """Return the class names of an output; empty if it has none."""
        labels: tuple[str, ...] = self._of(self.find_output(output), self.labels, ())
        return labels

    def tolerance_of(self, output: str) -> Tolerance:
        """Return how far an artifact may be from the source model at that output.

        Whole numbers, truth values and strings have to be the same, unless a tolerance is given by the name
        of an output of numbers.
        """
        if isinstance(self.tolerance, Mapping):
            return EXACT if self.find_output(output).is_text else self.tolerance.get(output, EXACT)
        return self.tolerance if self.find_output(output).is_float else EXACT

    @property
    def text_tensors(self) -> tuple[str, ...]:
        """Names of the inputs and outputs that hold strings, which TensorFlow alone has."""
        return tuple(tensor.name for tensor in (*self.inputs, *self.outputs) if tensor.is_text)

    def task_of(self, output: str) -> Task | None:
        """Return the kind of that output, if the model declares it."""
        task: Task | None = self._of(self.find_output(output), self.task, None)
        return task

    def samples(self) -> Samples:
        """Return the held-out samples, checked against the signature.

        Raises:
            ModelError: the model's function fails; inputs do not have the signature's names, dtypes and
                shapes; or as `truths`.
        """
        raw = run(f"test_samples of {self.name} failed", self.test_samples)
        samples = checked(self.name, raw, self.inputs)
        self.truths(samples)
        return samples

    def training(self) -> Samples | None:
        """Return the samples to calibrate on, checked against the signature; None if the model gives none.

        Raises:
            ModelError: as `samples`.
        """
        if self.train_samples is None:
            return None
        raw = run(f"train_samples of {self.name} failed", self.train_samples)
        return checked(self.name, raw, self.inputs)

    def examples(self) -> Samples:
        """Return what to trace and to warm up with: the training samples, or the held-out ones without any.

        Raises:
            ModelError: as `samples`.
        """
        return self.training() or self.samples()

    def truths(self, samples: Samples) -> dict[str, Truth]:
        """Return what is right for each of `samples` at each output, as far as it is known.

        Raises:
            ModelError: labels are out of range, of another shape, or of an output that is not there.
        """
        labels = samples.labels
        if isinstance(labels, Mapping):
            unknown = [name for name in labels if name not in [output.name for output in self.outputs]]
            if unknown:
                raise ModelError(
                    f"labels of {self.name}'s samples are of {unknown[0]!r}; its outputs are "
                    f"{', '.join(output.name for output in self.outputs)}"
                )
        return {
            output.name: truth_of(
                self.name,
                self._of(output, labels, None),
                len(samples),
                output,
                self.labels_of(output.name),
                self.task_of(output.name),
            )
            for output in self.outputs
        }

    @property
    def code(self) -> tuple[Path, ...]:
        """The files whose text decides what is exported: `sources`, and a shipped model's twin and data.

        Those of a model file are all among its sources.
        """
        home = Path(__file__).parent / self.name
        own = home.glob("*.py") if self.origin is None else ()
        return tuple(
            dict.fromkeys((*self.sources, *sorted(path for path in own if path.name not in TRAINING)))
        )

    @property
    def checkpoint_files(self) -> tuple[Path, ...]:
        """The files that the checkpoint consists of.

        Raises:
            ModelError: one is missing.
        """
        if self.given is not None:
            return tuple(map(self.given.path_of, self.given.files))
        try:
            return files_of_checkpoint(self.checkpoint)
        except CheckpointError as error:
            problem = "is missing" if error.missing else f"cannot be used: {error}"
            hint = f"run `tandem train {self.argument}`" if self.train else "say in the spec where it is"
            raise ModelError(f"checkpoint {self.checkpoint} of {self.name} {problem}; {hint}") from error

    @cached_property
    def checkpoint_sha256(self) -> str:
        """SHA-256 of the checkpoint, hexadecimal; of several files over their names and digests.

        Raises:
            ModelError: the checkpoint is missing.
        """
        if self.given is not None:
            return digest_of_given(self.given)
        files = self.checkpoint_files
        size_bytes, memory_bytes = sum(path.stat().st_size for path in files), _memory_bytes()
        if size_bytes > memory_bytes:
            raise ModelError(
                f"checkpoint {self.checkpoint} of {self.name} has {size_bytes} bytes, more than this "
                f"machine's memory of {memory_bytes}; {self.remedy}"
            )
        digests = {}
        for path in files:
            with path.open("rb") as file:
                digests[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
        return digest_of_files(digests)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over weights, signature and the sources that decide what the model computes."""
        facts = {
            "name": self.name,
            "inputs": [(t.name, t.dtype, t.shape) for t in self.inputs],
            "outputs": [(t.name, t.dtype, t.shape) for t in self.outputs],
            "labels": self.labels,
            "checkpoint": self.checkpoint_sha256,
            "sources": [hashlib.sha256(path.read_bytes()).hexdigest() for path in self.sources],
        } | ({"ignored": self.ignored} if self.ignored else {})
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def columns(output: TensorSpec) -> int | None:
    """Return how many values an output has in its last dimension; None if that is dynamic."""
    return output.shape[-1] if len(output.shape) > 1 else 1


def _memory_bytes() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
