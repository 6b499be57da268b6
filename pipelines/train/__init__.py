"""`tandem train`."""
