"""The operator `tandem::recurrent` in JAX: one loop over time for each layer and direction."""

from typing import Any


def recurrent(
    x: Any, h: Any, c: Any, weights: Any, kind: str, layers: int, both: bool, batch_first: bool, bias: bool
) -> tuple[Any, Any, Any]:
    """Compute outputs and last states as `torch.nn.LSTM`, `GRU` or `RNN` (`kind`) in evaluation mode."""
    import jax.numpy as jnp

    steps = jnp.swapaxes(x, 0, 1) if batch_first else x
    per_direction, states, cells = (4 if bias else 2), [], []
    for layer in range(layers):
        outputs = []
        for direction in range(2 if both else 1):
            place = layer * (2 if both else 1) + direction
            own = weights[place * per_direction : (place + 1) * per_direction]
            out, last_h, last_c = _layer(steps, h[place], c[place], own, kind, backwards=direction == 1)
            outputs.append(out)
            states.append(last_h)
            cells.append(last_c)
        steps = jnp.concatenate(outputs, -1)
    out = jnp.swapaxes(steps, 0, 1) if batch_first else steps
    return out, jnp.stack(states), jnp.stack(cells)


def _layer(steps: Any, h: Any, c: Any, weights: Any, kind: str, *, backwards: bool) -> tuple[Any, Any, Any]:
    """Compute one layer in one direction over `steps` (time, batch, features)."""
    from jax import lax

    into, recur, *biases = weights
    # What depends on the inputs alone is computed for all steps at once.
    projected = steps @ into.T + (biases[0] if biases else 0)

    def step(carry: Any, row: Any) -> Any:
        old_h, old_c = carry
        new_h, new_c = _step(row, old_h @ recur.T + (biases[1] if biases else 0), old_h, old_c, kind)
        return (new_h, new_c), new_h

    (h, c), outputs = lax.scan(step, (h, c), projected, reverse=backwards)
    return outputs, h, c


def _step(row: Any, back: Any, h: Any, c: Any, kind: str) -> tuple[Any, Any]:
    """Compute the next state of one step, with torch's order of gates."""
    import jax
    import jax.numpy as jnp

    if kind == "lstm":
        enter, forget, cell, leave = jnp.split(row + back, 4, -1)
        c = jax.nn.sigmoid(forget) * c + jax.nn.sigmoid(enter) * jnp.tanh(cell)
        return jax.nn.sigmoid(leave) * jnp.tanh(c), c
    if kind == "gru":
        (reset, update, new), (reset_b, update_b, new_b) = jnp.split(row, 3, -1), jnp.split(back, 3, -1)
        update = jax.nn.sigmoid(update + update_b)
        new = jnp.tanh(new + jax.nn.sigmoid(reset + reset_b) * new_b)
        h = (1 - update) * new + update * h
        return h, h
    h = jnp.tanh(row + back) if kind == "rnn_tanh" else jax.nn.relu(row + back)
    return h, h
