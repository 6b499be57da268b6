"""Whole files, regular files, and what an earlier death left behind."""
