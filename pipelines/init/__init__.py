"""`tandem init`: a short, commented spec to fill in."""
