"""Preparing series: chronological order, gaps, missing cells, scaling, windows.

Import from the modules: `core.prepare.series` must not pull in what `core.prepare.build` needs.
"""
