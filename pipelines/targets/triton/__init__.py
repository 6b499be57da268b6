"""TorchScript behind NVIDIA Triton, by its Python backend and a small runtime of ours, without a GPU."""
