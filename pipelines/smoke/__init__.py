"""The deployment smoke test: named checks of everything a deployment must do, each with its own verdict."""
