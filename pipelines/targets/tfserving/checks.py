"""What the smoke test looks at in TensorFlow Serving alone."""

from pipelines.http import fetch_json
from pipelines.targets.own_checks import Running, require, require_error_text

OK = 200
# What its metadata calls a dtype.
TYPE_NAMES = {"float16": "DT_HALF", "float32": "DT_FLOAT", "float64": "DT_DOUBLE"}


def status(running: Running) -> str:
    """Return the state of the first version, whose number is a string."""
    _, answer = fetch_json(f"{running.endpoint.base_url}/v1/models/{running.endpoint.model}")
    version = answer["model_version_status"][0]
    require(isinstance(version["version"], str), f"the version is {version['version']!r}, expected a string")
    return f"version {version['version']} is {version['state']}"


def metadata(running: Running) -> str:
    """Name and signature, as the model's."""
    spec = running.spec
    code, answer = fetch_json(f"{running.endpoint.base_url}/v1/models/{running.endpoint.model}/metadata")
    require(code == OK, f"it answers {code}: {answer}")
    model = answer["model_spec"]
    require(model["name"] == spec.name, f"it serves {model['name']!r}, expected {spec.name!r}")
    signature = answer["metadata"]["signature_def"]["signature_def"]["serving_default"]
    for kind, tensors in (("inputs", spec.inputs), ("outputs", spec.outputs)):
        for tensor in tensors:
            info = signature[kind].get(tensor.name)
            require(info is not None, f"no {tensor.name!r} among its {kind}: {sorted(signature[kind])}")
            shape = tuple(int(dim["size"]) for dim in info["tensor_shape"]["dim"])
            wanted = tuple(-1 if size is None else size for size in tensor.shape)
            require(shape == wanted, f"{tensor.name} has shape {shape}, expected {wanted}")
            named = TYPE_NAMES.get(tensor.dtype, f"DT_{tensor.dtype.upper()}")
            require(info["dtype"] == named, f"{tensor.name} is {info['dtype']}, expected {named}")
    return f"{spec.name} version {model['version']}, signature as the model's"


unknown_model = require_error_text
