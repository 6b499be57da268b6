"""`tandem history` and `tandem runs`: what all runs on this disk say, without a server or a data base."""
