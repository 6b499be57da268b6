"""Child processes: how they start, how they end, and the guard that outlives us."""
