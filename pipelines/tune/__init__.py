"""`tandem tune`."""
