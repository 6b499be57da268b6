"""Training by a recipe in Keras on TensorFlow: `compile` and `fit` as Keras' own guide has them."""

import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt

from models.keras_source import keras_on
from models.recipe import EPSILON, Fitted, Predict, Progress, Session
from models.spec import FloatArray, ModelSpec

KEPT = 0.9
"""Of the running statistics of batch normalisation at every step. PyTorch calls it a momentum of 0.1."""


def fit(
    spec: ModelSpec,
    state: Mapping[str, FloatArray],
    session: Session,
    threads_count: int,
    progress: Progress,
    ready: Callable[[], None],
) -> tuple[Fitted, Predict, Any]:
    """Train the twin from `state`; returns what it took, the trained model as a function, and the model.

    `ready` is called when everything is in memory and before the first step.
    """
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads_count)
    tf.config.threading.set_inter_op_parallelism_threads(threads_count)
    keras = keras_on("tensorflow")
    assert spec.build_keras is not None  # noqa: S101 - a model without a twin was refused before
    twin = spec.build_keras(state)
    for layer in twin.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = KEPT
    optimizer = _adamw(keras, tf)(
        _schedule(keras, session), weight_decay=session.recipe.weight_decay, epsilon=EPSILON
    )
    twin.compile(optimizer=optimizer, loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    clock = _clock(keras, session, progress)
    ready()
    with warnings.catch_warnings():
        # That the order of what is given is kept, and that it ends with the last epoch: both are meant.
        warnings.filterwarnings("ignore", message=".*shuffle=True.*")
        warnings.filterwarnings("ignore", message=".*ran out of data.*")
        twin.fit(
            _dataset(tf, spec, session),
            epochs=session.epochs,
            steps_per_epoch=session.steps_count,
            callbacks=[clock],
            verbose=0,
        )
    settings = {"compiled": "XLA" if twin.jit_compile else "graph", "threads": str(threads_count)}
    fitted = Fitted(tuple(clock.epochs_s), tuple(clock.losses), clock.first_loss, settings)
    return fitted, _predict(twin), twin


def _adamw(keras: Any, tf: Any) -> Any:
    class AdamW(keras.optimizers.AdamW):  # type: ignore[misc]
        """AdamW that sums a row's gradients before it squares them.

        TensorFlow gives an embedding's gradient as a slice per use of a row. Keras 3.15 squares each slice by
        itself, so that a row used a hundred times in a batch moves ten times as far as it should.
        """

        def apply(self, grads: Any, trainable_variables: Any = None) -> Any:
            return super().apply(
                [
                    tf.convert_to_tensor(gradient) if isinstance(gradient, tf.IndexedSlices) else gradient
                    for gradient in grads
                ],
                trainable_variables,
            )

    return AdamW


def _schedule(keras: Any, session: Session) -> Any:
    rates = session.learning_rates()

    class Table(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
        """The learning rate of every step, looked up."""

        def __call__(self, step: Any) -> Any:
            table = keras.ops.convert_to_tensor(rates, dtype="float32")
            last = len(rates) - 1
            return keras.ops.take(table, keras.ops.minimum(keras.ops.cast(step, "int32"), last))

        def get_config(self) -> dict[str, Any]:
            return {}

    return Table()


def _clock(keras: Any, session: Session, progress: Progress) -> Any:
    class Clock(keras.callbacks.Callback):  # type: ignore[misc]
        """Times epochs and notes losses."""

        def __init__(self) -> None:
            super().__init__()
            self.epochs_s: list[float] = []
            self.losses: list[float] = []
            self.first_loss = 0.0
            self._started = 0.0

        def on_epoch_begin(self, *_: Any) -> None:
            self._started = time.perf_counter()

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            if batch == 0 and not self.losses:
                # The mean over the epoch so far, which is of one batch.
                self.first_loss = float(logs["loss"])

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.losses.append(float(logs["loss"]))
            self.epochs_s.append(time.perf_counter() - self._started)
            progress(f"epoch {epoch + 1}/{session.epochs}, loss {self.losses[-1]:.4f}")

    return Clock()


def _dataset(tf: Any, spec: ModelSpec, session: Session) -> Any:
    (tensor,) = spec.inputs

    def batches() -> Iterator[Any]:
        for epoch in range(session.epochs):
            yield from session.batches(epoch)

    signature = (
        tf.TensorSpec(tensor.shape, tensor.dtype),
        tf.TensorSpec((None,), "int64"),
    )
    return tf.data.Dataset.from_generator(batches, output_signature=signature).prefetch(1)


def _predict(twin: Any) -> Predict:
    def predict(inputs: npt.NDArray[Any]) -> npt.NDArray[Any]:
        answers: npt.NDArray[Any] = twin(inputs, training=False).numpy()
        return answers

    return predict


def write(twin: Any, path: Path) -> None:
    """Write the model as a `.keras` file, without the state of its training."""
    bare = twin.__class__.from_config(twin.get_config())
    bare.set_weights(twin.get_weights())
    bare.save(path)
