"""What lies on disk: the manifest that proves it, and private copies for servers."""
