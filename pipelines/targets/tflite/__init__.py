"""A TensorFlow Lite flatbuffer for devices, run in process."""
