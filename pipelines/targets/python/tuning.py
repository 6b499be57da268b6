"""What a search may vary of the plain server, which knows no batching."""

from pipelines.targets.tuning import Axis, counted, doubling

FASTAPIS_POOL = 40


def axes(cores_count: int, limit_ms: float) -> tuple[Axis, ...]:  # noqa: ARG001 - nothing waits here
    """Return the axes: worker processes, the threads of each, and simultaneous forward passes in one."""
    return (
        counted("workers", "workers", doubling(2 * cores_count), 1),
        counted("threads", "torch_threads", doubling(cores_count), cores_count),
        counted("pool", "pool_threads", (0, 1, 4), FASTAPIS_POOL),
    )
