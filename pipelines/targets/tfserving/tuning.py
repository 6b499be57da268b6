"""What a search may vary of a TensorFlow model server."""

from pipelines.targets.tfserving.settings import DEFAULT_BATCH, TFServingSettings
from pipelines.targets.tuning import Axis, Level, counted, delays_ms, doubling
from pipelines.units import US_PER_MS

NO_BATCHING = Level("off", dict.fromkeys(TFServingSettings.batching_settings))


def axes(cores_count: int, limit_ms: float) -> tuple[Axis, ...]:
    """Return the axes: threads inside an operation, threads that run batches, and rows and delay of a batch.

    The vendor computes with as many threads as cores and batches nothing; where batching is on, its advice
    for CPUs is a thread per core and a delay from 0 to 10 ms. The vendor's delay is 0.
    """
    # Sizes that are allowed depend on the largest, and are not varied.
    on = {"enable_batching": True, "allowed_batch_sizes": None}
    sizes = tuple(Level(str(size), {**on, "max_batch_size": size}) for size in doubling(32, least=2))
    batch = (NO_BATCHING, *sizes)
    delays = (0, 200, *(ms * US_PER_MS for ms in delays_ms(limit_ms)))
    return (
        counted("threads", "tensorflow_intra_op_parallelism", doubling(cores_count), cores_count),
        Axis("batch", "max_batch_size", batch, 0, switch="enable_batching", vendors=DEFAULT_BATCH),
        counted("workers", "num_batch_threads", doubling(2 * cores_count), cores_count, needs="batch"),
        counted("delay", "batch_timeout_micros", delays, 0, unit=" µs", needs="batch"),
    )
