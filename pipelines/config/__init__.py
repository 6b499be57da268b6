"""The settings of a run, from profiles, files and options."""
