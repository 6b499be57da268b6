"""`tandem verify`: every artifact against the source model."""
