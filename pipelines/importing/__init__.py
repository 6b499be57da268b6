"""`tandem import`: files that exist, looked through, read, and held against each other."""
