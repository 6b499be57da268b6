"""`tandem compare` and `tandem slo`."""
