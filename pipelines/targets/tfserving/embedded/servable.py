"""One loaded version of a model: its signatures and a TensorFlow session to run them in."""

import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from .dtypes import Array, TensorSpec
from .rank_check import needs_rank_check
from .status import Code, ServingError
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

    def __init__(self, name: str, version: int, folder: Path, options: SessionOptions) -> None:
        self.name = name
        self.version = version
        self.folder = folder
        self._usual_s = math.inf
        self._timeout_ms = options.timeout_ms
        self._session, meta_graph = _load(folder, options)
        self.signature_defs: dict[str, Any] = dict(meta_graph.signature_def)
        self.signatures = {key: _signature(value) for key, value in self.signature_defs.items()}
        self.checks_rank = needs_rank_check(meta_graph.graph_def)
        self._callables: dict[tuple[Any, ...], Any] = {}
        self._lock = threading.Lock()

    @property
    def is_quick(self) -> bool:
        """Whether recent runs were so short that changing threads for the next one would cost more."""
        return self._usual_s < _QUICK_S

    def run(self, feeds: Mapping[str, Array], fetches: Sequence[str], quick: bool = False) -> list[Array]:
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
        except (TypeError, ValueError, RuntimeError, MemoryError) as error:
            raise ServingError(Code.INTERNAL, f"{type(error).__name__}: {error}") from None
        self._remember(perf_counter() - began)
        return [output if type(output) is np.ndarray else _scalar(output) for output in outputs]

    def _remember(self, seconds: float) -> None:
        """A running mean, so that one interruption by the machine does not change the way a model is run.

        The first run of a graph also builds its executor and says nothing about the next one.
        """
        if self._usual_s == math.inf:
            self._usual_s = _FIRST_S
        else:
            self._usual_s += _NEWS * (seconds - self._usual_s)

    def _callable(self, feeds: tuple[str, ...], fetches: tuple[str, ...], quick: bool) -> Any:
        key = (feeds, fetches, quick)
        found = self._callables.get(key)
        if found is None:
            with self._lock:
                if len(self._callables) >= _MAX_CALLABLES:  # clients can ask for any subset of the outputs
                    self._callables.clear()
                found = self._callables[key] = self._make_callable(feeds, fetches, quick)
        return found

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
    """TensorFlow gives a string scalar as bytes and other scalars as numpy's own."""
    return np.array(value, dtype=object if isinstance(value, bytes) else None)


def _load(folder: Path, options: SessionOptions) -> tuple[Any, Any]:
    """Session and meta graph of a SavedModel.

    Raises ServingError (NOT_FOUND, DATA_LOSS or TensorFlow's own).
    """
    import tensorflow as tf

    v1 = tf.compat.v1
    if not any((folder / name).is_file() for name in ("saved_model.pb", "saved_model.pbtxt")):
        raise ServingError(
            Code.NOT_FOUND,
            f"Could not find SavedModel .pb or .pbtxt at supplied export directory path: {folder}",
        )
    config = v1.ConfigProto(
        intra_op_parallelism_threads=options.intra_op_threads,
        inter_op_parallelism_threads=options.inter_op_threads,
    )
    graph = tf.Graph()
    with graph.as_default():
        session = v1.Session(graph=graph, config=config)
        try:
            return session, v1.saved_model.loader.load(session, ["serve"], str(folder))
        except tf.errors.OpError as error:
            raise ServingError(Code(error.error_code), str(error.message)) from None
        except OSError as error:
            raise ServingError(Code.DATA_LOSS, f"Can't parse the SavedModel in {folder}: {error}") from None
        except (RuntimeError, ValueError, TypeError, KeyError) as error:
            raise ServingError(
                Code.INVALID_ARGUMENT, f"Can't load the SavedModel in {folder}: {error}"
            ) from None


def _signature(definition: Any) -> Signature:
    defaults = {alias: to_array(proto) for alias, proto in definition.defaults.items()}
    return Signature(
        definition.method_name,
        _specs(definition.inputs),
        _specs(definition.outputs),
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
