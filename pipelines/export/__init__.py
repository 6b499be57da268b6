"""`tandem export`: one trained model into the artifacts of every target."""
