"""`tandem train`: a model's own training, or one alike in two frameworks, and compared."""
