"""One loaded version of a model: its signatures and a TensorFlow session to run them in."""

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from .batching import Batcher
from .dtypes import DT_STRING, MAX_STRING_RANK, Array, TensorSpec
from .feeds_check import feeds_a_bias
from .rank_check import has_loop, needs_rank_check
from .status import Code, ServingError, invalid
from .tensor_proto import to_array

DEFAULT_SIGNATURE = "serving_default"
_MAX_CALLABLES = 256
_QUICK_S = 0.001
# After its first run it takes a few short ones until a model counts as quick.
_FIRST_S = 0.002
_NEWS = 0.1


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """Threads of a session (0 lets TensorFlow choose) and the time limit of one run in ms (0 is none)."""

    intra_op_threads: int = 0
    inter_op_threads: int = 0
    timeout_ms: int = 0


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature of a SavedModel: inputs and outputs by alias, sorted; `text` is its definition."""

    method_name: str
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    defaults: Mapping[str, Array]
    text: str


class Servable:
    """A model version that can be run. Thread-safe; its session is freed with the last reference to it."""

    def __init__(
        self, name: str, version: int, folder: Path, options: SessionOptions, batcher: Batcher | None = None
    ) -> None:
        self.name = name
        self.version = version
        self.folder = folder
        self._usual_s = math.inf
        # Told what every request took to be computed, by the model's name; set once the model is warm.
        self.note_runtime: Callable[[str, float], None] | None = None
        self._timeout_ms = options.timeout_ms
        self._batcher = batcher
        self._session, meta_graph = _load(folder, options)
        self.signature_defs: dict[str, Any] = dict(meta_graph.signature_def)
        guard = _RankGuard(self._session.graph)
        self.signatures = {key: _signature(value, guard) for key, value in self.signature_defs.items()}
        self.checks_rank = needs_rank_check(meta_graph.graph_def)
        self._may_be_quick = not has_loop(meta_graph.graph_def)
        self._callables: dict[tuple[Any, ...], Any] = {}
        self._lock = threading.Lock()

    @property
    def is_quick(self) -> bool:
        """Whether recent runs were so short that changing threads for the next one would cost more.

        Never where runs wait for each other to make a batch.
        """
        return self._batcher is None and self._may_be_quick and self._usual_s < _QUICK_S

    def run(self, feeds: Mapping[str, Array], fetches: Sequence[str], quick: bool = False) -> list[Array]:
        """Run the graph, in a batch with others where batching is on; see `run_once`."""
        began = perf_counter()
        try:
            return self._run(feeds, fetches, quick)
        finally:
            if self.note_runtime:
                self.note_runtime(self.name, perf_counter() - began)

    def _run(self, feeds: Mapping[str, Array], fetches: Sequence[str], quick: bool) -> list[Array]:
        if self._batcher is None:
            return self.run_once(feeds, fetches, quick)
        key = (id(self), tuple(feeds), tuple(fetches))
        return self._batcher.run(key, feeds, lambda merged: self.run_once(merged, fetches))

    def run_once(
        self, feeds: Mapping[str, Array], fetches: Sequence[str], quick: bool = False
    ) -> list[Array]:
        """Run the graph once: arrays by tensor name in, one array per fetched tensor name out.

        `quick` stays in the calling thread, which for a tiny graph is ten times faster than changing threads;
        it has no time limit. Raises ServingError with TensorFlow's own code and message.
        """
        from tensorflow.errors import OpError

        try:
            run = self._callable(tuple(feeds), tuple(fetches), quick)
            began = perf_counter()
            outputs: list[Array] = run(*feeds.values())
        except OpError as error:
            raise ServingError(Code(error.error_code), str(error.message)) from None
        except UnicodeDecodeError as error:
            # TensorFlow's message quotes bytes of the request, and its code is lost on the way to Python.
            raise invalid(error.object.decode("utf-8", "replace")) from None
        except (TypeError, ValueError, RuntimeError, MemoryError) as error:
            raise ServingError(Code.INTERNAL, f"{type(error).__name__}: {error}") from None
        self._remember(perf_counter() - began)
        return [output if type(output) is np.ndarray else _scalar(output) for output in outputs]

    def _remember(self, seconds: float) -> None:
        """Update the running mean, so that one interruption of the machine does not change how a model runs.

        The first run of a graph also builds its executor and says nothing about the next one.
        """
        if self._usual_s == math.inf:
            self._usual_s = _FIRST_S
        else:
            self._usual_s += _NEWS * (seconds - self._usual_s)

    def _callable(self, feeds: tuple[str, ...], fetches: tuple[str, ...], quick: bool) -> Any:
        key = (feeds, fetches, quick)
        call = self._callables.get(key)
        if call is None:
            with self._lock:
                if len(self._callables) >= _MAX_CALLABLES:  # clients can ask for any subset of the outputs
                    self._callables.clear()
                call = self._callables[key] = self._make_callable(feeds, fetches, quick)
        return call

    def _make_callable(self, feeds: tuple[str, ...], fetches: tuple[str, ...], quick: bool) -> Any:
        from tensorflow.core.protobuf import config_pb2

        options = config_pb2.CallableOptions(feed=feeds, fetch=fetches)
        if quick:
            options.run_options.inter_op_thread_pool = -1
        elif self._timeout_ms > 0:
            options.run_options.timeout_in_ms = self._timeout_ms
        # The public `make_callable` is the same call behind 200 µs of Python.
        return self._session._make_callable_from_options(options)


def _scalar(value: Any) -> Array:
    """Make an array: TensorFlow gives a string scalar as bytes and other scalars as numpy's own."""
    return np.array(value, dtype=object if isinstance(value, bytes) else None)


def _load(folder: Path, options: SessionOptions) -> tuple[Any, Any]:
    """Load session and meta graph of a SavedModel.

    Raises ServingError (NOT_FOUND, DATA_LOSS or TensorFlow's own).
    """
    import tensorflow as tf

    v1 = tf.compat.v1
    if not any((folder / name).is_file() for name in ("saved_model.pb", "saved_model.pbtxt")):
        raise ServingError(
            Code.NOT_FOUND,
            f"Could not find SavedModel .pb or .pbtxt at supplied export directory path: {folder}",
        )
    from tensorflow.python.saved_model import loader_impl

    graph = tf.Graph()
    with graph.as_default():
        try:
            # What the public `load` does, with a look at the graph between reading it and making a session.
            loader = loader_impl.SavedModelLoader(str(folder))
            graph_def = loader.get_meta_graph_def_from_tags(["serve"]).graph_def
            session = v1.Session(graph=graph, config=_config(options, feeds_a_bias(graph_def)))
            return session, loader.load(session, ["serve"])
        except tf.errors.OpError as error:
            raise ServingError(Code(error.error_code), str(error.message)) from None
        except OSError as error:
            raise ServingError(Code.DATA_LOSS, f"Can't parse the SavedModel in {folder}: {error}") from None
        except (RuntimeError, ValueError, TypeError, KeyError) as error:
            raise ServingError(
                Code.INVALID_ARGUMENT, f"Can't load the SavedModel in {folder}: {error}"
            ) from None


def _config(options: SessionOptions, keep_unfused: bool) -> Any:
    from tensorflow.core.protobuf import rewriter_config_pb2
    from tensorflow.core.protobuf.config_pb2 import ConfigProto

    config = ConfigProto(
        intra_op_parallelism_threads=options.intra_op_threads,
        inter_op_parallelism_threads=options.inter_op_threads,
    )
    if keep_unfused:
        config.graph_options.rewrite_options.remapping = rewriter_config_pb2.RewriterConfig.OFF
    return config


class _RankGuard:
    """Lets a string tensor of a graph be fetched only up to `MAX_STRING_RANK` dimensions.

    With more of them TensorFlow's conversion to numpy ends the process.
    """

    def __init__(self, graph: Any) -> None:
        self._graph = graph

    def __call__(self, spec: TensorSpec) -> TensorSpec:
        """Return the same output, behind a check if it is of strings and its rank may be too large."""
        if spec.dtype != DT_STRING:
            return spec
        tensor = self._graph.get_tensor_by_name(spec.tensor_name)
        if tensor.shape.rank is not None and tensor.shape.rank <= MAX_STRING_RANK:
            return spec
        return TensorSpec(self._checked(tensor).name, spec.dtype, spec.shape)

    def _checked(self, tensor: Any) -> Any:
        import tensorflow as tf

        text = f"A string tensor may have {MAX_STRING_RANK} dimensions at most"
        with self._graph.as_default(), self._graph.control_dependencies(None):
            few = tf.rank(tensor) <= MAX_STRING_RANK
            with self._graph.control_dependencies([tf.compat.v1.Assert(few, [text])]):
                return tf.identity(tensor, name="tandem_rank_guard")


def _signature(definition: Any, guard: Callable[[TensorSpec], TensorSpec]) -> Signature:
    defaults = {alias: to_array(proto) for alias, proto in definition.defaults.items()}
    return Signature(
        definition.method_name,
        _specs(definition.inputs),
        {alias: guard(spec) for alias, spec in _specs(definition.outputs).items()},
        {alias: array for alias, array in defaults.items() if array is not None},
        str(definition),
    )


def _specs(infos: Mapping[str, Any]) -> dict[str, TensorSpec]:
    return {
        alias: TensorSpec(infos[alias].name, infos[alias].dtype, _shape(infos[alias]))
        for alias in sorted(infos)
    }


def _shape(info: Any) -> tuple[int, ...] | None:
    shape = info.tensor_shape
    return None if shape.unknown_rank else tuple(dim.size for dim in shape.dim)
