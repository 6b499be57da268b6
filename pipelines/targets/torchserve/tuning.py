"""What a search may vary of TorchServe."""

from dataclasses import replace

from pipelines.targets.tuning import Axis, counted, delays_ms, doubling

VENDORS_DELAY_MS = 100


def axes(cores_count: int, limit_ms: float) -> tuple[Axis, ...]:
    """Return the axes: workers, the threads of each, and size and delay of a batch of requests.

    The vendor starts a worker per core, each with as many threads as cores, and batches nothing; its delay of
    a batch is beyond most limits, and is tried where the preset leaves it so.
    """
    delays = delays_ms(limit_ms)
    delay = counted("delay", "maxBatchDelay", delays, delays[0], unit=" ms", needs="batch")
    return (
        counted("workers", "default_workers_per_model", doubling(2 * cores_count), cores_count),
        counted("threads", "torch_threads", doubling(cores_count), cores_count),
        counted("batch", "batchSize", doubling(32), 1),
        replace(delay, switch="batchSize", vendors=VENDORS_DELAY_MS),
    )
