"""Python environments of their own, for tools that cannot live beside ours: made once, on first use."""
