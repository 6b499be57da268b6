"""The source model, what it answers, and how near an answer has to be."""
