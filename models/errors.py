"""What is wrong with a model. A module of its own, so that what a spec is checked with can raise it."""


class ModelError(ValueError):
    """A model is unknown, says something impossible, or its checkpoint does not fit it."""
