"""How many of one unit make another."""

MS_PER_S = 1000
US_PER_S = 1e6
US_PER_MS = 1000
NS_PER_S = 1e9
NS_PER_MS = 1e6
BYTES_PER_MB = 10**6
