"""What the smoke test looks at in Triton alone."""

from pipelines.http import fetch_json
from pipelines.targets import oip
from pipelines.targets.own_checks import Running, require, require_error_text

OK = 200


def status(running: Running) -> str:
    """Check that server and model are ready, and every process that holds the model is there."""
    base_url, model = running.endpoint.addresses["REST"], running.endpoint.model
    unready = oip.status(base_url, model)
    require(unready is None, f"it says: {unready}")
    code, stats = fetch_json(f"{base_url}/v2/models/{model}/stats")
    require(code == OK, f"/v2/models/{model}/stats answers {code}")
    versions = [entry.get("version") for entry in stats.get("model_stats", [])]
    require(versions == ["1"], f"it serves the versions {versions}, expected 1 alone")
    return "server and model are ready, version 1"


def metadata(running: Running) -> str:
    """Name, platform, inputs and outputs, as the model's."""
    answer = oip.metadata(running.endpoint.addresses["REST"], running.endpoint.model)
    require(answer.get("name") == running.spec.name, f"it serves {answer.get('name')!r}")
    require(answer.get("platform") == "python", f"its platform is {answer.get('platform')!r}")
    oip.require_signature(running.spec, answer)
    surplus = oip.surplus_inputs(running.spec, answer)
    require(not surplus, surplus)
    return f"{answer['name']}, signature as the model's"


unknown_model = require_error_text
