"""Other random numbers than a model asks for: one that sets its own seed draws at random all the same.

No exported file sets a seed. What PyTorch draws becomes an operation that draws anew at every request, so
noise that is the same whenever the source model is asked is another one in every answer of a server. NumPy's
and Python's numbers become constants of the file, which is what they are under a fixed seed.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

SHIFT = 7_919
SEEDS = 2**63


@contextmanager
def other_seeds() -> Iterator[None]:
    """Give PyTorch another seed for each one set inside; leave its global state as it was."""
    import torch

    manual_seed, state = torch.manual_seed, torch.get_rng_state()

    class Generator(torch.Generator):
        def manual_seed(self, seed: int) -> torch.Generator:
            return super().manual_seed(_other(seed))

    def seeded(seed: Any) -> torch.Generator:
        return manual_seed(_other(seed))

    with ExitStack() as stack:
        stack.callback(torch.set_rng_state, state)
        for place in (torch, torch.random):
            stack.enter_context(patch.object(place, "manual_seed", seeded))
        stack.enter_context(patch.object(torch, "Generator", Generator))
        yield


def _other(seed: Any) -> int:
    return (int(seed) + SHIFT) % SEEDS
