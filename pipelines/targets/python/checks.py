"""What the smoke test looks at in the plain server alone."""

import json
from typing import Any

from pipelines.http import fetch_json
from pipelines.targets.own_checks import Running, require
from pipelines.targets.torchserve.export import signature

OK = 200


def status(running: Running) -> str:
    """Report how many workers have loaded the model."""
    code, answer = fetch_json(f"{running.endpoint.base_url}/ready")
    require(code == OK, f"GET /ready answers {code} {answer}")
    return f"{answer['workers_ready']} of {answer['workers']} workers have loaded the model"


def metadata(running: Running) -> str:
    """Digest, inputs and outputs, as the model's."""
    code, answer = fetch_json(f"{running.endpoint.base_url}/info")
    require(code == OK, f"GET /info answers {code} {answer}")
    wanted = json.loads(json.dumps(signature(running.spec)))  # as it is in the file: shapes are lists
    for name in ("model_digest", "inputs", "outputs"):
        require(answer[name] == wanted[name], f"{name} is {answer[name]}, expected {wanted[name]}")
    return f"model {answer['model_digest'][:12]}, signature as the model's"


def unknown_model(answer: Any) -> None:
    """Check nothing: the server has one model, whose name is not in its URL."""
