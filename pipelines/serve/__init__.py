"""Servers that stand: one in the foreground, a stack of containers, and when a server is ready."""
