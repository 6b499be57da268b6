"""How a running plain server is configured, in its own words."""

from typing import Any

from pipelines.targets.endpoint import Configuration

ASKED, RULE = "server", "rule"
# GivenRecord's field and the server's.
TOLD = {
    "workers_count": "workers",
    "threads_per_worker": "torch_threads",
    "inter_op_threads_count": "torch_interop_threads",
    "rest_threads_count": "pool_threads",
    "max_request_bytes": "max_body_bytes",
}


def from_info(answer: Any) -> Configuration:
    """Return GivenRecord's fields from `GET /info`, without those it does not tell."""
    info = answer if isinstance(answer, dict) else {}
    told = {field: info[name] for field, name in TOLD.items() if info.get(name) is not None}
    if not told:
        return {"sources": {}}
    # It knows no batching, so it does not tell of any.
    return {**told, "batch_max_size": 1, "sources": {**dict.fromkeys(told, ASKED), "batch_max_size": RULE}}


def unready(status: int, answer: Any) -> str | None:
    """Return None if every worker has loaded the model, else what `GET /ready` reports."""
    report = answer if isinstance(answer, dict) else {}
    if report.get("ready") is True:
        return None
    if "workers_ready" in report:
        return f"{report['workers_ready']} of {report.get('workers')} workers have loaded the model"
    return f"/ready answers {status}"
