"""Blocks of fresh servers, rounds under load, and what went on around them."""
