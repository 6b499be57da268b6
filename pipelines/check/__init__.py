"""`tandem check`: every claim of a spec, tested in seconds without exporting anything."""
