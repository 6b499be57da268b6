"""One run: how it begins, what it keeps, how it is read again."""
