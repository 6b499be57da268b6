"""TorchScript behind MLServer, by a small runtime of ours, in a Python environment of MLServer's own."""
