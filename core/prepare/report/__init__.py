"""What was done to the rows, for machines and for people."""
