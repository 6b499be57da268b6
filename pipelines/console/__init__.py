"""Text for people: what a terminal gets, and how figures are written."""
