"""Where data come from: files, tables, queries, simulations; and their immutable snapshots.

Import from the modules: `core.prepare` needs `core.sources.stored`, and `core.sources.infer` needs it.
"""
