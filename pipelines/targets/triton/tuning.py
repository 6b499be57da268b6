"""What a search may vary of Triton."""

from pipelines.targets.triton.settings import TritonSettings
from pipelines.targets.tuning import Axis, Level, counted, delays_ms, doubling
from pipelines.units import US_PER_MS

OFF = Level("off", dict.fromkeys(TritonSettings.batching_settings))


def axes(cores_count: int, limit_ms: float) -> tuple[Axis, ...]:
    """Return the axes: processes that hold the model, threads of each, and how many rows wait how long.

    The vendor has one process, and where batching is on it waits for nobody.
    """
    # Sizes that are preferred may be no larger than the largest, and are not varied.
    on = {"dynamic_batching": True, "preferred_batch_size": None}
    sizes = tuple(Level(str(size), {**on, "max_batch_size": size}) for size in doubling(32, least=2))
    delays = (0, 200, *(ms * US_PER_MS for ms in delays_ms(limit_ms)))
    return (
        counted("workers", "instance_count", doubling(2 * cores_count), 1),
        counted("threads", "torch_threads", doubling(cores_count), cores_count),
        Axis("batch", "max_batch_size", (OFF, *sizes), 0, switch="dynamic_batching"),
        counted("delay", "max_queue_delay_microseconds", delays, 0, unit=" µs", needs="batch"),
    )
