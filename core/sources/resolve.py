"""A dataset from what a user types: a name of the catalogue, a YAML file, or a data file alone."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

from core.catalog import SLUG, DatasetConfig, list_datasets, load_dataset
from core.errors import ConfigError
from core.sources.csv_file import CSV_ENDINGS
from core.sources.infer import infer_dataset
from core.sources.parquet_file import PARQUET_ENDINGS

_YAML_ENDINGS = (".yaml", ".yml")


@dataclass(frozen=True)
class Resolved:
    """A dataset and what was inferred to describe it."""

    dataset: DatasetConfig
    notes: tuple[str, ...] = ()
    """One sentence for each inference; none for what a YAML file says."""


def resolve_dataset(name_or_path: str, catalog: Path) -> Resolved:
    """The dataset of a catalogue name, a `.yaml` file, or a CSV or Parquet file that nothing describes.

    Args:
        name_or_path: For example `sp500`, `my/set.yaml`, `prices.csv.gz`.
        catalog: Folder of the catalogue.

    Raises:
        ConfigError: there is no such dataset or file, or the YAML says what no dataset may say.
        DataError: a data file that cannot be read.
    """
    if SLUG.match(name_or_path) and (catalog / f"{name_or_path}.yaml").is_file():
        return Resolved(load_dataset(catalog / f"{name_or_path}.yaml"))
    lower = name_or_path.lower()
    if "\0" not in name_or_path and lower.endswith(_YAML_ENDINGS):
        return Resolved(load_dataset(Path(name_or_path).expanduser()))
    if "\0" not in name_or_path and lower.endswith((*CSV_ENDINGS, *PARQUET_ENDINGS)):
        dataset, notes = infer_dataset(Path(name_or_path).expanduser())
        if dataset.name in list_datasets(catalog):  # its models must not take the place of the catalogue's
            dataset = dataset.model_copy(update={"name": f"{dataset.name[:59]}-file"})
            notes = (
                f"The dataset is called {dataset.name!r}: the catalogue has one of the file's name.",
                *notes[1:],
            )
        return Resolved(dataset, notes)
    raise ConfigError(_unknown(name_or_path, catalog))


def _unknown(text: str, catalog: Path) -> str:
    names = list_datasets(catalog)
    near = difflib.get_close_matches(text.lower()[:100], names, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}? " if near else ""
    listed = ", ".join(names) or f"none, {catalog} is empty"
    endings = ", ".join([*_YAML_ENDINGS, *CSV_ENDINGS, *PARQUET_ENDINGS])
    return (
        f"there is no dataset {text[:100]!r}; {hint}datasets: {listed}. A file is named by its path, which "
        f"ends in one of {endings}"
    )
