"""Exports one trained model to several targets, serves them, measures them and compares them."""
