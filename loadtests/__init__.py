"""Drives load at one endpoint, records every request, and turns records into figures.

A leaf: imports nothing from `pipelines`.
"""
