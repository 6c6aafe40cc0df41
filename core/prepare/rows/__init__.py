"""Rows: their keys and order, what their columns hold, missing cells, and how they are streamed."""
