"""ONNX, the bridge that both worlds read: written from PyTorch, run here by ONNX Runtime."""
