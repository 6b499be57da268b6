"""The machine: its cores and its Java."""
