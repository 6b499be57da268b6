"""What articles on the two frameworks repeat, tested."""
