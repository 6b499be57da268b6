"""`--output FORMAT=FILE`: what a command found, in the formats that CI reads."""
