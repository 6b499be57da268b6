"""Counts and latencies of requests, as Prometheus text under the names the real server uses."""

import threading
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

# The label of models that are not served: a client can make up any number of names.
UNKNOWN_MODEL = ""
METRICS_PATH = "/monitoring/prometheus/metrics"
_BOUNDS_US = tuple(10 * 1.8**power for power in range(33))
_PREFIX = ":tensorflow:serving:"


@dataclass(slots=True)
class _Histogram:
    buckets: list[int] = field(default_factory=lambda: [0] * (len(_BOUNDS_US) + 1))
    sum_us: float = 0.0


class Metrics:
    """Counters of one server, shared by its threads. Recording takes about a microsecond."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs_count, self._rows_count, self._queuing = 0, 0, _Histogram()
        self._counts: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._latencies: defaultdict[tuple[str, str, str], _Histogram] = defaultdict(_Histogram)
        self._runtimes: defaultdict[str, _Histogram] = defaultdict(_Histogram)

    def record(self, model: str, api: str, entrypoint: str, status: str, seconds: float) -> None:
        """Count one request: model, `Predict` and so on, `REST` or `GRPC`, the code's name, its duration."""
        micros = seconds * 1e6
        at = bisect_left(_BOUNDS_US, micros)
        with self._lock:
            self._counts[model, status] += 1
            histogram = self._latencies[model, api, entrypoint]
            histogram.buckets[at] += 1
            histogram.sum_us += micros

    def record_runtime(self, model: str, seconds: float) -> None:
        """Count what a request took to be computed, waiting for its batch included."""
        micros = seconds * 1e6
        at = bisect_left(_BOUNDS_US, micros)
        with self._lock:
            histogram = self._runtimes[model]
            histogram.buckets[at] += 1
            histogram.sum_us += micros

    def record_batch(self, rows: int, waited_s: Sequence[float]) -> None:
        """Count one run of a batch: its rows, and how long each of its requests had waited in the queue."""
        with self._lock:
            self._runs_count += 1
            self._rows_count += rows
            for seconds in waited_s:
                micros = seconds * 1e6
                self._queuing.buckets[bisect_left(_BOUNDS_US, micros)] += 1
                self._queuing.sum_us += micros

    def page(self) -> str:
        """Write all metrics in Prometheus' text format."""
        with self._lock:
            return "\n".join(
                [
                    *self._count_lines(),
                    *self._latency_lines(),
                    *self._runtime_lines(),
                    *self._batch_lines(),
                    "",
                ]
            )

    def _count_lines(self) -> list[str]:
        name = f"{_PREFIX}request_count"
        lines = [f"# TYPE {name} counter"]
        for (model, status), count in sorted(self._counts.items()):
            lines.append(f"{name}{{{_labels(model_name=model, status=status)}}} {count}")
        return lines

    def _batch_lines(self) -> list[str]:
        """Write what batching did: runs and queueing as the real server counts them, and rows of the runs."""
        if not self._runs_count:
            return []
        runs, rows = f"{_PREFIX}batching_session:wrapped_run_count", ":tandem:batching_session:rows_count"
        name = f"{_PREFIX}batching_session:queuing_latency"
        pool = _labels(thread_pool_name="model_batch_threads")
        return [
            *(f"# TYPE {runs} counter", f"{runs}{{{pool}}} {self._runs_count}"),
            *(f"# TYPE {rows} counter", f"{rows}{{{pool}}} {self._rows_count}"),
            f"# TYPE {name} histogram",
            *_histogram_lines(name, pool, self._queuing),
        ]

    def _runtime_lines(self) -> list[str]:
        name = f"{_PREFIX}runtime_latency"
        lines = [f"# TYPE {name} histogram"] if self._runtimes else []
        for model, histogram in sorted(self._runtimes.items(), key=lambda item: item[0]):
            lines += _histogram_lines(name, _labels(model_name=model, runtime="embedded"), histogram)
        return lines

    def _latency_lines(self) -> list[str]:
        name = f"{_PREFIX}request_latency"
        lines = [f"# TYPE {name} histogram"]
        for (model, api, entrypoint), histogram in sorted(self._latencies.items(), key=lambda item: item[0]):
            labels = _labels(model_name=model, API=api, entrypoint=entrypoint)
            lines += _histogram_lines(name, labels, histogram)
        return lines


def _histogram_lines(name: str, labels: str, histogram: _Histogram) -> list[str]:
    lines, total = [], 0
    for bound, count in zip((*(f"{us:g}" for us in _BOUNDS_US), "+Inf"), histogram.buckets, strict=True):
        total += count
        lines.append(f'{name}_bucket{{{labels},le="{bound}"}} {total}')
    return [*lines, f"{name}_sum{{{labels}}} {histogram.sum_us:g}", f"{name}_count{{{labels}}} {total}"]


def _labels(**labels: str) -> str:
    escaped = {
        key: value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
        for key, value in labels.items()
    }
    return ",".join(f'{key}="{value}"' for key, value in escaped.items())


def monitoring_config() -> Any:
    """Build an empty MonitoringConfig message, which tensorflow-serving-api leaves out."""
    from google.protobuf import (  # type: ignore[import-untyped]
        descriptor_pb2,
        descriptor_pool,
        message_factory,
    )

    package = "tandem.embedded"
    file = descriptor_pb2.FileDescriptorProto(
        name="tandem/monitoring_config.proto", package=package, syntax="proto3"
    )
    prometheus = file.message_type.add(name="PrometheusConfig")
    prometheus.field.add(name="enable", number=1, type="TYPE_BOOL", label="LABEL_OPTIONAL")
    prometheus.field.add(name="path", number=2, type="TYPE_STRING", label="LABEL_OPTIONAL")
    config = file.message_type.add(name="MonitoringConfig")
    config.field.add(
        name="prometheus_config",
        number=1,
        type="TYPE_MESSAGE",
        type_name=f".{package}.PrometheusConfig",
        label="LABEL_OPTIONAL",
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.MonitoringConfig"))()
