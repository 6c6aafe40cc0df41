"""A dataset from what a user types: a name of the catalogue, a YAML file, or a data file alone."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

from core.catalog import SLUG, DatasetConfig, list_datasets, load_dataset
from core.errors import ConfigError
from core.sources.infer import infer_dataset
from core.sources.load import ENDINGS
from core.sources.remote import is_remote

_YAML_ENDINGS = (".yaml", ".yml")


@dataclass(frozen=True)
class Resolved:
    """A dataset and what was inferred to describe it."""

    dataset: DatasetConfig
    notes: tuple[str, ...] = ()
    """One sentence for each inference; none for what a YAML file says."""


def resolve_dataset(name_or_path: str, catalog: Path) -> Resolved:
    """The dataset of a catalogue name, a `.yaml` file, or data that nothing describes.

    Args:
        name_or_path: For example `sp500`, `my/set.yaml`, `prices.csv.gz`, `parts/` (Parquet files), or a URL.
        catalog: Folder of the catalogue.

    Raises:
        ConfigError: there is no such dataset or file, or the YAML says what no dataset may say.
        DataError: a data file that cannot be read.
        SourceError: a URL that could not be reached.
    """
    if SLUG.match(name_or_path) and (catalog / f"{name_or_path}.yaml").is_file():
        return Resolved(load_dataset(catalog / f"{name_or_path}.yaml"))
    lower = name_or_path.lower()
    if "\0" not in name_or_path and lower.endswith(_YAML_ENDINGS):
        return Resolved(load_dataset(_home_resolved(name_or_path)))
    if "\0" not in name_or_path and _names_data(name_or_path):
        if not is_remote(name_or_path):
            name_or_path = str(_home_resolved(name_or_path))
        dataset, notes = infer_dataset(name_or_path)
        if dataset.name in list_datasets(catalog):  # its models must not take the place of the catalogue's
            dataset = dataset.model_copy(update={"name": f"{dataset.name[:59]}-file"})
            notes = (
                f"The dataset is called {dataset.name!r}: the catalogue has one of the file's name.",
                *notes[1:],
            )
        return Resolved(dataset, notes)
    raise ConfigError(_unknown(name_or_path, catalog))


def _names_data(text: str) -> bool:
    """Whether it is a URL, ends like a data file, or is the path of a folder (a name alone is a dataset's)."""
    if is_remote(text) or text.lower().endswith(ENDINGS):
        return True
    try:
        path = Path(text).expanduser()
        return "/" in text and path.is_dir() and any(path.rglob("*.p*q*"))
    except (OSError, RuntimeError):
        return False


def _home_resolved(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise ConfigError(f"{text[:200]!r} is no path: {error}") from error


def _unknown(text: str, catalog: Path) -> str:
    names = list_datasets(catalog)
    near = difflib.get_close_matches(text.lower()[:100], names, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}? " if near else ""
    listed = ", ".join(names) or f"none, {catalog} is empty"
    endings = ", ".join([*_YAML_ENDINGS, *ENDINGS])
    return (
        f"there is no dataset {text[:100]!r}; {hint}datasets: {listed}. A file is named by its path, which "
        f"ends in one of {endings}"
    )
