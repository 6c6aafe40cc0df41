"""Building blocks of the generators."""
