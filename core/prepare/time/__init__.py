"""Time: stamps out of whatever form they come in, the grid that they should lie on, and gaps in it."""
