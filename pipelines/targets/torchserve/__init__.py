"""TorchScript in a TorchServe model archive, answered by the real TorchServe."""
