"""Work in processes of its own, with progress and limits."""
