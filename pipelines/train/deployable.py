"""A model that Keras trained, as a file that every command takes: it goes down both roads from Keras."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from models.spec import ModelSpec
from pipelines.files.atomic import write_atomically

FILE: Final = "trained.keras"

SPEC: Final = '''"""{name}, trained in Keras by `tandem train --from keras`: `tandem compare {file}`."""

from pathlib import Path

from models.keras_source import keras_spec
from models.spec import load_model

TRAINED = load_model({source!r})

MODEL = keras_spec(
    model=Path(__file__).parent / {model!r},
    name={own_name!r},
    **{{
        name: getattr(TRAINED, name)
        for name in ("inputs", "outputs", "labels", "tolerance", "test_samples", "train_samples", "task")
    }},
)
'''


@dataclass(frozen=True)
class Kept:
    """Names in the run's folder of the model and of the model file that says what it is."""

    model: str
    spec: str


def keep(spec: ModelSpec, folder: Path) -> Kept:
    """Write the model file beside the model that a training wrote as `FILE`.

    Raises:
        MachineError: the disk refused.
    """
    name = f"{spec.name}_keras"
    source = spec.name if spec.origin is None else str(spec.origin.resolve())
    text = SPEC.format(name=spec.name, file=f"{name}.py", source=source, model=FILE, own_name=name)
    write_atomically(folder / f"{name}.py", text)
    return Kept(FILE, f"{name}.py")
