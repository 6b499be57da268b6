"""What the smoke test looks at in MLServer alone."""

from pipelines.targets import oip
from pipelines.targets.own_checks import Running, require, require_error_text


def status(running: Running) -> str:
    """Check that server and model are ready by the protocol."""
    unready = oip.status(running.endpoint.addresses["REST"], running.endpoint.model)
    require(unready is None, f"it says: {unready}")
    return "server and model are ready"


def metadata(running: Running) -> str:
    """Name, inputs and outputs, as the model's."""
    answer = oip.metadata(running.endpoint.addresses["REST"], running.endpoint.model)
    require(answer.get("name") == running.spec.name, f"it serves {answer.get('name')!r}")
    oip.require_signature(running.spec, answer)
    surplus = oip.surplus_inputs(running.spec, answer)
    require(not surplus, surplus)
    return f"{answer['name']}, signature as the model's"


unknown_model = require_error_text
