"""What a search may vary of MLServer."""

from pipelines.targets.mlserver.settings import MLServerSettings
from pipelines.targets.tuning import Axis, Level, counted, delays_ms, doubling

OFF = Level("off", dict.fromkeys(MLServerSettings.batching_settings))


def axes(cores_count: int, limit_ms: float) -> tuple[Axis, ...]:
    """Return the axes: processes for inference, threads of each, and how many requests wait how long.

    MLServer batches where both a size and a time are set; a size of 1 is none.
    """
    delays = delays_ms(limit_ms)
    sizes = tuple(Level(str(size), {"max_batch_size": size}) for size in doubling(32, least=2))
    return (
        counted("workers", "parallel_workers", (0, *doubling(cores_count)), 1),
        counted("threads", "torch_threads", doubling(cores_count), cores_count),
        Axis("batch", "max_batch_size", (OFF, *sizes), 0),
        counted("delay", "max_batch_time_ms", delays, delays[0], unit=" ms", needs="batch"),
    )
