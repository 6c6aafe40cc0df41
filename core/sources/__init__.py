"""Where data come from: files, the tables of `arch`, simulations; and their immutable snapshots."""

from __future__ import annotations

from core.sources.load import Loaded, load_table, read_source
from core.sources.resolve import Resolved, resolve_dataset
from core.sources.snapshots import snapshot, table_digest, table_from_snapshot

__all__ = [
    "Loaded",
    "Resolved",
    "load_table",
    "read_source",
    "resolve_dataset",
    "snapshot",
    "table_digest",
    "table_from_snapshot",
]
