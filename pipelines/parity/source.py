"""The source model, run as it is: whether its answers are a function of one sample, and what they are.

Everything else is held against these outputs, so a model that answers differently the second time, or in
another batch, is refused here and by that name, before any file is blamed. Only functions import torch.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from models.errors import ModelError, placed
from models.forward import flattened
from models.signature import DTYPES, TensorSpec
from models.spec import ModelSpec
from models.tensors import Array, Tensors, ask, batches, count, fits, is_text, take
from models.weights import load_source
from pipelines.parity import tensorflow_source, watching
from pipelines.parity.agreement import allowed_error, shown
from pipelines.parity.quality import absolute_error, flat, shapes_of
from pipelines.parity.seeding import other_seeds

if TYPE_CHECKING:
    import torch

# Batches that servers form and warm up with; sample by sample comes before them.
BATCHES = (1, 2, 3, 8)
# So many samples at least are asked again in each of those batches, and when a model is only exported; of a
# fast model as many as it answers in this time.
LEAST_AGAIN = 32
AGAIN_S = 1.0


CHECKS = (
    "reads no values of its inputs",
    "answers as declared",
    "keeps its inputs",
    "answers the same again",
    "is all in its checkpoint",
    "answers each sample by itself",
    "keeps its state",
)
"""What `outputs_of` finds out, in this order."""


def outputs_of(
    spec: ModelSpec, inputs: Tensors, passed: Callable[[str], None] = lambda _: None
) -> dict[str, Array]:
    """Return the source model's outputs (n, …) for `inputs`, both by name, after every check of this module.

    `passed` gets the name of each of `CHECKS` as it passes.

    Raises:
        ModelError: it fails, gives something else than its spec says, is no function of one sample alone, or
            its control flow depends on its data.
    """
    if not count(inputs):
        raise ModelError(f"{spec.name} has no held-out samples; without any, nothing can be compared")
    if spec.text_tensors:
        return _outputs_of_text(spec, inputs, passed)
    module = load_source(spec)
    _require_no_reading(spec, module, inputs)
    passed(CHECKS[0])
    state = {name: tensor.clone() for name, tensor in _tensors(module).items()}
    started = time.monotonic()
    outputs = _require_input_kept(spec, module, inputs, passed)
    each_s = (time.monotonic() - started) / count(inputs)
    again = take(inputs, slice(max(LEAST_AGAIN, int(AGAIN_S / each_s))))
    _require_repeatable(spec, module, again, outputs, passed)
    _require_state_kept(spec, module, state)
    passed(CHECKS[6])
    return outputs


def plain_outputs(spec: ModelSpec, inputs: Tensors) -> dict[str, Array]:
    """Return the source model's outputs (n, …) by name, checked only for their shapes and dtypes.

    Raises:
        ModelError: it fails, or gives something else than its spec says.
    """
    if spec.text_tensors:
        return tensorflow_source.asker(spec, tensorflow_source.load(spec))(inputs, None)
    return _ask(spec, load_source(spec), inputs)


def _outputs_of_text(spec: ModelSpec, inputs: Tensors, passed: Callable[[str], None]) -> dict[str, Array]:
    """Do as `outputs_of`, for a model that has strings."""
    model = tensorflow_source.load(spec)
    tensorflow_source.require_traceable(spec, model)
    passed(CHECKS[0])
    before, asked = tensorflow_source.weights_of(model), tensorflow_source.asker(spec, model)
    outputs = asked(inputs, None)
    for name in CHECKS[1:3]:
        passed(name)
    few = take(inputs, slice(LEAST_AGAIN))
    once = asked(few, None)
    _require_same(spec, once, asked(few, None), "asked a second time", RANDOM, None)
    passed(CHECKS[3])
    rebuilt = tensorflow_source.asker(spec, tensorflow_source.load(spec))
    _require_same(spec, once, rebuilt(few, None), "built a second time from its file", UNSAVED, None)
    passed(CHECKS[4])
    first = take(outputs, slice(count(few)))
    _require_same(spec, once, first, "asked with more samples beside it", BATCHED, None)
    for batch in BATCHES:
        how = "asked sample by sample" if batch == 1 else f"asked in batches of {batch}"
        _require_same(spec, once, asked(few, batch), how, BATCHED, None)
    passed(CHECKS[5])
    if not all(map(np.array_equal, before, tensorflow_source.weights_of(model))):
        raise ModelError(
            f"source model {spec.name} changes its own variables while it answers, so an answer may depend "
            "on those before it; write to them in training alone"
        )
    passed(CHECKS[6])
    return outputs


def _require_repeatable(
    spec: ModelSpec,
    module: "torch.nn.Module",
    inputs: Tensors,
    outputs: Tensors,
    passed: Callable[[str], None],
) -> None:
    """Ask the first samples, `inputs`, again: in the same way, rebuilt, in other batches and another order.

    Raises:
        ModelError: an answer is another one.
    """
    asked = count(inputs)
    once = outputs if asked == count(outputs) else _ask(spec, module, inputs)
    _require_same(spec, once, _ask(spec, module, inputs), "asked a second time", RANDOM, module)
    with other_seeds():
        unseeded = _ask(spec, module, inputs)
    _require_same(spec, once, unseeded, "asked with another random seed", RANDOM, module)
    passed(CHECKS[3])
    rebuilt = _ask(spec, load_source(spec), inputs)
    _require_same(spec, once, rebuilt, "built a second time from its checkpoint", UNSAVED, module)
    passed(CHECKS[4])
    first = take(outputs, slice(asked))
    _require_same(spec, once, first, "asked with more samples beside it", BATCHED, module)
    for batch in BATCHES:
        again = _ask(spec, module, inputs, batch)
        how = "asked sample by sample" if batch == 1 else f"asked in batches of {batch}"
        _require_same(spec, once, again, how, BATCHED, module)
    passed(CHECKS[5])
    order = np.arange(asked)[::-1]
    backwards = take(_ask(spec, load_source(spec), take(inputs, order)), order)
    _require_same(spec, once, backwards, "built anew and asked in the opposite order", FIRST, module)


RANDOM = (
    "differs from itself: it draws random numbers or keeps something between calls; leave out dropout and "
    "noise when `self.training` is false"
)
UNSAVED = (
    "differs from itself: something in it is drawn at random when it is built and is not in the checkpoint; "
    "register it as a buffer and save it"
)
FIRST = (
    "depends on what it was asked first: compute what it keeps of its first input beforehand, and save it in "
    "the checkpoint"
)
BATCHED = (
    "depends on its batch: what it says of a sample changes with the samples beside it; compute every sample "
    "by itself (batch normalisation in evaluation mode, no statistics or branches over the batch)"
)


TOO_TIGHT = (
    "differs from itself by rounding, which its tolerance does not allow: float32 sums in another order "
    "differ by about a millionth; give a larger tolerance"
)
# Of the largest output: what differs by less is called rounding.
ROUNDING = 1e-5


def require_deployable(spec: ModelSpec) -> None:
    """Check as `outputs_of`, on the first samples only, what an exporter needs before it traces.

    Raises:
        ModelError: as `outputs_of`.
    """
    outputs_of(spec, take(spec.samples().named, slice(LEAST_AGAIN)))


def _require_no_reading(spec: ModelSpec, module: "torch.nn.Module", inputs: Tensors) -> None:
    """Raise ModelError if the model reads values of its inputs into Python.

    Such a value is a constant in every trace, and what it decided is decided for ever.

    Raises:
        ModelError: it happens, with file and line.
    """
    for size in (2, 1):
        _, batch = next(batches(inputs, size))
        read = watching.first_reading(module, _ordered(spec, batch))
        if read is not None:
            what, place = read
            raise placed(
                f"source model {spec.name} has data-dependent control flow: it {what}",
                place,
                "; an exported file would keep what one input decided; express it in tensors (torch.where), "
                "or leave it out of forward",
            )


def _require_input_kept(
    spec: ModelSpec, module: "torch.nn.Module", inputs: Tensors, passed: Callable[[str], None]
) -> dict[str, Array]:
    """Return the outputs of a module that leaves its inputs unchanged.

    Raises:
        ModelError: it overwrites one; with its name, file and line.
    """
    import torch

    told: list[bool] = []

    def call(batch: Tensors) -> dict[str, Array]:
        given = _copies(spec, batch)
        outputs = _call(spec, module, given)
        if not told:
            told.append(True)
            passed(CHECKS[1])
        for tensor, name, before in zip(
            given, (tensor.name for tensor in spec.inputs), _copies(spec, batch), strict=True
        ):
            if not torch.equal(tensor, before):
                place = watching.first_overwriting(module, _ordered(spec, take(batch, slice(1))))
                raise placed(
                    f"source model {spec.name} overwrites its input {name!r}",
                    place,
                    "; work on a copy (x.clone(), inplace=False)",
                )
        return outputs

    answers = ask(call, inputs, count(inputs))
    passed(CHECKS[2])
    return answers


def _ordered(spec: ModelSpec, batch: Tensors) -> list[Array]:
    """Return the inputs in the order in which forward takes them."""
    return [batch[tensor.name] for tensor in spec.inputs]


def _copies(spec: ModelSpec, batch: Tensors) -> "list[torch.Tensor]":
    import torch

    return [torch.tensor(array) for array in _ordered(spec, batch)]


def _require_state_kept(
    spec: ModelSpec, module: "torch.nn.Module", before: "Mapping[str, torch.Tensor]"
) -> None:
    """Raise ModelError if a parameter or buffer is no longer what it was `before` the module answered."""
    changed = [name for name, tensor in _tensors(module).items() if not _equal(tensor, before.get(name))]
    if changed:
        raise ModelError(
            f"source model {spec.name} changes its own {changed[0]!r} while it answers, so an answer may "
            f"depend on those before it{_in_training(module)}; write to buffers in training mode only"
        )


def _in_training(module: "torch.nn.Module | None") -> str:
    """Name the part that is still in training mode although the model was put into evaluation mode."""
    if module is None:
        return ""
    names = [name or "it" for name, part in module.named_modules() if part.training]
    return f" ({names[0]!r} is still in training mode after eval())" if names else ""


def _tensors(module: "torch.nn.Module") -> "dict[str, torch.Tensor]":
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def _equal(one: "torch.Tensor", other: "torch.Tensor | None") -> bool:
    import torch

    return other is not None and one.shape == other.shape and torch.equal(one, other)


def _ask(
    spec: ModelSpec, module: "torch.nn.Module", inputs: Tensors, size: int | None = None
) -> dict[str, Array]:
    """Return outputs (n, …) by name for a copy of `inputs`, asked as one batch or in batches of `size`."""
    return ask(lambda batch: _call(spec, module, _copies(spec, batch)), inputs, size or count(inputs))


def _call(spec: ModelSpec, module: "torch.nn.Module", given: "list[torch.Tensor]") -> dict[str, Array]:
    import torch

    asked = len(given[0])
    with _named(spec, module, asked), torch.inference_mode():
        names = [output.name for output in spec.outputs]
        answer = flattened(spec.name, module(*given), names)
        # A copy: a model may return its input, or the same memory every time.
        outputs = {name: _array(spec, name, one) for name, one in zip(names, answer, strict=True)}
    for output in spec.outputs:
        _require_declared(spec, output, outputs[output.name], asked)
    return outputs


def _array(spec: ModelSpec, name: str, tensor: object) -> Array:
    """Convert an output to an array; raise ModelError if it is no tensor or its dtype is none of `DTYPES`."""
    import torch

    if not isinstance(tensor, torch.Tensor):
        raise ModelError(
            f"source model {spec.name} returns a {type(tensor).__name__} for its output {name!r}; tensors "
            "are allowed: one, a tuple or list of them, or a dict by output names"
        )
    dtype = str(tensor.dtype).removeprefix("torch.")
    if dtype not in DTYPES:
        # A cast of complex numbers would drop their imaginary part.
        cure = (
            f".to(torch.{spec.find_output(name).dtype})"
            if not tensor.is_complex()
            else "torch.view_as_real, or .abs()"
        )
        raise ModelError(
            f"source model {spec.name} gives {dtype} for its output {name!r}; allowed: {', '.join(DTYPES)}; "
            f"end forward with {cure}"
        )
    return np.array(tensor.numpy(force=True))


def _require_declared(spec: ModelSpec, output: TensorSpec, found: Array, asked: int) -> None:
    """Raise ModelError if an output has another shape or dtype than declared, or is not finite."""
    declared = (asked, *output.shape[1:])
    if not fits(found.shape, declared) or str(found.dtype) != output.dtype:
        raise ModelError(
            f"source model {spec.name} gives {found.dtype} of shape {found.shape} for {asked} samples, "
            f"its output {output.name!r} must be {output.dtype} of shape {declared}"
        )
    if output.is_float and not np.isfinite(found).all():
        place = tuple(np.argwhere(~np.isfinite(found))[0])
        raise ModelError(
            f"source model {spec.name} gives {found[place]} for sample {place[0]} at its output "
            f"{output.name!r}; finite numbers are needed, nothing can be compared with others"
        )


@contextmanager
def _named(spec: ModelSpec, module: "torch.nn.Module", batch: int) -> Iterator[None]:
    """Turn whatever forward raises into one line, with the place in the model's own file."""
    try:
        yield
    except ModelError:
        raise
    except (Exception, SystemExit) as error:
        place = watching.place_of(error.__traceback__)
        reason = (str(error).strip().splitlines() or [""])[0]
        raise placed(
            f"source model {spec.name} fails on a batch of {batch}",
            place,
            f": {type(error).__name__}: {reason}{_in_training(module)}",
        ) from error


def _require_same(
    spec: ModelSpec, once: Tensors, again: Tensors, how: str, meaning: str, module: "torch.nn.Module | None"
) -> None:
    """Raise ModelError if the two differ by more than the model's tolerance."""
    for name, wanted in once.items():
        if shapes_of(wanted) != shapes_of(again[name]):
            raise ModelError(f"source model {spec.name} {BATCHED} (output {name!r} has another shape {how})")
        error = absolute_error(again[name], wanted)
        values, found = flat(wanted), flat(again[name])
        allowed = allowed_error(values, spec.tolerance_of(name))
        excess = error - allowed
        if not (excess > 0).any():
            continue
        if not is_text(wanted) and error.max() <= ROUNDING * np.abs(values.astype(np.float64)).max():
            meaning = TOO_TIGHT
        worst = int(excess.argmax())
        sizes = np.cumsum([math.prod(shape) for shape in shapes_of(wanted)])
        sample = int(np.searchsorted(sizes, worst, side="right"))
        raise ModelError(
            f"source model {spec.name} {meaning}{_in_training(module)} (output {name!r}, sample {sample}: "
            f"{shown(values[worst])}, {how} {shown(found[worst])}, allowed ±{allowed[worst]:.2g})"
        )
