"""Servers with a known answer, for finding the harness's own floor and for testing it."""
