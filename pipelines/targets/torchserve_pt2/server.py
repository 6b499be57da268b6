"""Starting TorchServe with the archive that holds the `.pt2` package."""

from dataclasses import replace

from pipelines.targets.server_plan import ServeRequest, ServerPlan
from pipelines.targets.torchserve import server as torchserve

NAME = "torchserve-pt2"


def plan(request: ServeRequest) -> ServerPlan:
    """Plan the same server, settings and handler as the target `torchserve`; only the model's file differs.

    Raises:
        MachineError: as there.
    """
    base = torchserve.plan(request)
    note = f"{base.implementation.note}; the model compiled by AOTInductor"
    return replace(base, target=NAME, implementation=base.implementation.model_copy(update={"note": note}))
