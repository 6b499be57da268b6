"""Where a server lives: a local process tree, or a container."""
