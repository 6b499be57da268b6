"""What a model must say about itself, and how to find one by name or by file.

A model is a Python module with a `MODEL: ModelSpec`: a folder of this package ("digits_cnn"), or any file
("path/to/file.py"). Nothing here imports a framework; the callables of a spec do, when they are called.
"""

from models.errors import ModelError
from models.loading import load_model, load_unchanged, model_names
from models.model_spec import FloatArray, ModelSpec, columns
from models.samples import Samples
from models.signature import TensorSpec
from models.tolerance import Tolerance

__all__ = (
    "FloatArray",
    "ModelError",
    "ModelSpec",
    "Samples",
    "TensorSpec",
    "Tolerance",
    "columns",
    "load_model",
    "load_unchanged",
    "model_names",
)
