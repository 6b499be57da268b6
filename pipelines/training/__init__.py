"""One model trained in two frameworks, alike and compared."""
