"""Judging synthetic windows against real ones: scores, pictures and a report."""
