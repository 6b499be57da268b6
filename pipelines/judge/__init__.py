"""What follows from samples: figures, verdicts, rates; recomputed from a run at any time."""
