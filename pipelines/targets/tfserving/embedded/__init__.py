"""A small server on the TensorFlow runtime that speaks TensorFlow Serving's REST and gRPC API.

It stands in for `tensorflow_model_server` where that binary is missing and never calls itself TensorFlow
Serving. Start it with `python -m pipelines.targets.tfserving.embedded --help`. Importing this package does
not import tensorflow; docs/embedded-server.md says what it does differently from the real server, and why.
"""

SERVER_NAME = "tandem embedded server"
