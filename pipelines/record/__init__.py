"""What run.json holds."""
