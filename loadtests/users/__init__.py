"""One Locust user per protocol."""
