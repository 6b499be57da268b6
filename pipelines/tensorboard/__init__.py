"""A run as TensorBoard reads it."""
