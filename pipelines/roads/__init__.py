"""From PyTorch to TensorFlow's formats without a twin: several roads, each proved on the source's outputs."""
