"""A frozen SavedModel, answered by `tensorflow_model_server` or by the embedded server."""
