"""Models that came as files: each file in its target's folder, and the reference among them."""
