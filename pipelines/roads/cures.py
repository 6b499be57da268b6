"""Parts of a model written anew, with the same values, where a converter is known not to take them.

Only modules that are exactly torch's own are replaced; what a model computes by itself stays as it is.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

KINDS = {"LSTM": "lstm", "GRU": "gru", "RNN": "rnn"}
LIBRARIES: list[Any] = []  # an operator ends with the last reference to its library
BATCHED = 3  # dimensions of a batch of series
BAGS = 2  # dimensions of a batch of rows of one length


def replace(module: "torch.nn.Module", make: "Callable[[torch.nn.Module], torch.nn.Module | None]") -> None:
    """Put what `make` gives for a part of `module` into its place; None: it stays."""
    for name, part in module.named_children():
        new = make(part)
        if new is None:
            replace(part, make)
        else:
            setattr(module, name, new)


def without_transposed(part: "torch.nn.Module") -> "torch.nn.Module | None":
    """Rewrite a transposed convolution as a plain one on values with zeros between them.

    For converters without one of their own for dilated inputs.
    """
    import torch

    class Spread(torch.nn.Module):
        def __init__(self, old: Any) -> None:
            super().__init__()
            self.old, groups = old, old.groups
            weight, sizes = old.weight.detach(), old.kernel_size
            grouped = weight.reshape(groups, -1, weight.shape[1], *sizes).transpose(1, 2)
            flat = grouped.reshape(old.out_channels, -1, *sizes)
            self.weight: torch.Tensor
            self.register_buffer("weight", flat.flip([axis + 2 for axis in range(len(sizes))]).contiguous())

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            pads: list[int] = []
            for axis in range(len(self.old.kernel_size)):
                x = _spread(x, axis + 2, self.old.stride[axis])
                around = self.old.dilation[axis] * (self.old.kernel_size[axis] - 1) - self.old.padding[axis]
                pads = [around, around + self.old.output_padding[axis], *pads]
            call = torch.conv1d if len(self.old.kernel_size) == 1 else torch.conv2d
            padded = torch.nn.functional.pad(x, pads)
            return call(
                padded, self.weight, self.old.bias, dilation=self.old.dilation, groups=self.old.groups
            )

    plain = (torch.nn.ConvTranspose1d, torch.nn.ConvTranspose2d)
    return Spread(part) if type(part) in plain and part.padding_mode == "zeros" else None


def _spread(x: "torch.Tensor", axis: int, stride: int) -> "torch.Tensor":
    """Put `stride` - 1 zeros between the values of `x` along one axis."""
    import torch

    if stride == 1:
        return x
    size = x.shape[axis]
    apart = x.unsqueeze(axis + 1)
    pads = [0, 0] * (apart.ndim - axis - 2) + [0, stride - 1]
    together = torch.nn.functional.pad(apart, pads).flatten(axis, axis + 1)
    return together.narrow(axis, 0, (size - 1) * stride + 1)


def declare_recurrent() -> Any:
    """Declare the operator `tandem::recurrent` for torch: a whole recurrent stack with known shapes."""
    import torch

    if hasattr(torch.ops.tandem, "recurrent"):
        return torch.ops.tandem.recurrent.default
    library: Any = torch.library.Library("tandem", "DEF")  # type: ignore[no-untyped-call]
    library.define(
        "recurrent(Tensor x, Tensor h, Tensor c, Tensor[] weights, str kind, int layers, bool both, "
        "bool batch_first, bool bias) -> (Tensor, Tensor, Tensor)"
    )

    def shapes(x: Any, h: Any, c: Any, weights: Any, kind: Any, layers: int, both: bool, *_: Any) -> Any:  # noqa: ARG001
        width = h.shape[-1] * (2 if both else 1)
        return x.new_empty((*x.shape[:2], width)), torch.empty_like(h), torch.empty_like(c)

    torch.library.register_fake("tandem::recurrent", shapes, lib=library)
    LIBRARIES.append(library)
    return torch.ops.tandem.recurrent.default


def scanned(part: "torch.nn.Module") -> "torch.nn.Module | None":
    """Rewrite an LSTM, GRU or RNN as one operator, which the converter turns into a loop.

    Unrolled step by step, twenty steps take minutes to convert, and a dynamic length does not convert at all.
    """
    import torch

    kind = KINDS.get(type(part).__name__)
    if (
        kind is None
        or type(part).__module__ != torch.nn.LSTM.__module__
        or bool(getattr(part, "proj_size", False))
    ):
        return None
    operator = declare_recurrent()
    if kind == "rnn":
        kind = f"rnn_{part.nonlinearity}"

    class Scanned(torch.nn.Module):
        def __init__(self, old: Any) -> None:
            super().__init__()
            self.old = old

        def forward(self, x: Any, state: Any = None) -> Any:
            old, pair = self.old, kind == "lstm"
            if not isinstance(x, torch.Tensor) or x.ndim != BATCHED:
                return old(x, state)
            if state is None:
                count = old.num_layers * (2 if old.bidirectional else 1)
                zeros = x.new_zeros((count, x.shape[0 if old.batch_first else 1], old.hidden_size))
                state = (zeros, zeros) if pair else zeros
            h, c = state if pair else (state, state)
            weights = [weight for layer in old.all_weights for weight in layer]
            out, h, c = operator(
                x, h, c, weights, kind, old.num_layers, old.bidirectional, old.batch_first, old.bias
            )
            return out, ((h, c) if pair else h)

    return Scanned(part)


def bagged(part: "torch.nn.Module") -> "torch.nn.Module | None":
    """Rewrite an embedding bag over rows of one length as an embedding and its sum, mean or maximum.

    Torch's own operator counts through all rows as one list, which no converter does with a dynamic batch.
    """
    import torch

    class Bagged(torch.nn.Module):
        def __init__(self, old: Any) -> None:
            super().__init__()
            self.old = old

        def forward(
            self, x: torch.Tensor, offsets: Any = None, per_sample_weights: Any = None
        ) -> torch.Tensor:
            if offsets is not None or x.ndim != BAGS:
                whole: torch.Tensor = self.old(x, offsets, per_sample_weights)
                return whole
            values: torch.Tensor = torch.nn.functional.embedding(x.long(), self.old.weight)
            if self.old.mode == "max":
                return values.amax(dim=1)
            if per_sample_weights is not None:
                weights: torch.Tensor = per_sample_weights.unsqueeze(-1)
                return (values * weights).sum(dim=1)
            return values.sum(dim=1) if self.old.mode == "sum" else values.mean(dim=1)

    plain = type(part) is torch.nn.EmbeddingBag and part.padding_idx is None and part.max_norm is None
    return Bagged(part) if plain else None


def first_of(*cures: "Callable[[torch.nn.Module], torch.nn.Module | None]") -> "Callable[[Any], Any]":
    """Combine cures: a part becomes what the first of them gives that has another form for it."""

    def cure(part: "torch.nn.Module") -> "torch.nn.Module | None":
        return next((new for one in cures if (new := one(part)) is not None), None)

    return cure
