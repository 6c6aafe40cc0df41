"""Datasets by name: the YAML files of `data/catalog/` and what they may say."""

from __future__ import annotations

from core.catalog.columns import ColumnConfig, MissingConfig, Role, Scaler, ScalingConfig, Transform
from core.catalog.dataset import MAX_YAML_BYTES, SLUG, DatasetConfig, list_datasets, load_dataset
from core.catalog.expectations import Bounds, CheckName, Expectations, Relation
from core.catalog.sources import (
    ArchSource,
    EventsSource,
    Fetch,
    FileSource,
    SampleSource,
    SineSource,
    Source,
    SqlSource,
    UrlFetch,
    YahooFetch,
)
from core.catalog.time import TimeConfig

__all__ = [
    "MAX_YAML_BYTES",
    "SLUG",
    "ArchSource",
    "Bounds",
    "CheckName",
    "ColumnConfig",
    "DatasetConfig",
    "EventsSource",
    "Expectations",
    "Fetch",
    "FileSource",
    "MissingConfig",
    "Relation",
    "Role",
    "SampleSource",
    "Scaler",
    "ScalingConfig",
    "SineSource",
    "Source",
    "SqlSource",
    "TimeConfig",
    "Transform",
    "UrlFetch",
    "YahooFetch",
    "list_datasets",
    "load_dataset",
]
