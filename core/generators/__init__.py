"""Generators of windows behind one protocol; `registry.GENERATORS` lists them by kind."""
