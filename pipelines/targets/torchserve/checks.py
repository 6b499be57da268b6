"""What the smoke test looks at in TorchServe alone."""

import json
import zipfile
from typing import Any

from pipelines.http import fetch_json
from pipelines.targets.own_checks import Running, require

# In every image: a static program that asks a port inside the container.
PROBE, MANAGEMENT_PORT = "tandem-probe", "8081"
OK = 200


def status(running: Running) -> str:
    """Check `/ping` beside the management API, which tells more and was asked before."""
    code, answer = fetch_json(f"{running.endpoint.base_url}/ping")
    require(code == OK and answer == {"status": "Healthy"}, f"GET /ping answers {code} {answer}")
    return "every worker is READY, /ping says Healthy"


def metadata(running: Running) -> str:
    """Name and version, as the archive holds them."""
    name = running.spec.name
    description = _described(running)[0]
    with zipfile.ZipFile(running.folder / f"{name}.mar") as archive:
        packed = json.loads(archive.read("MAR-INF/MANIFEST.json"))["model"]
    got = (description.get("modelName"), description.get("modelVersion"))
    wanted = (packed["modelName"], packed["modelVersion"])
    require(got == wanted, f"it serves {got}, the archive holds {wanted}")
    return f"{got[0]} {got[1]}, {len(description.get('workers', []))} workers"


def _described(running: Running) -> Any:
    """Return the management API's description of the model; in a container it answers only inside."""
    path = f"/models/{running.spec.name}"
    if running.execute is None:
        return fetch_json(running.endpoint.addresses["management"] + path)[1]
    _, output = running.execute([PROBE, "get", MANAGEMENT_PORT, path])
    return json.loads(output)


def unknown_model(answer: Any) -> None:
    """Check that the answer is `{"code": 404, "type": "ModelNotFoundException", …}`."""
    kind = answer.get("type")
    require(kind == "ModelNotFoundException", f"the error's type is {kind!r}: {json.dumps(answer)[:200]}")
