"""Many synthetic windows, or one long series, as files."""
