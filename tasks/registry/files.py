"""Are a registered model's files those that were registered?

The registry's database keeps the digest of a generator's `files.json`, so that somebody who can write to the
artifact store, but not to the database, cannot change a model unnoticed.
"""

from __future__ import annotations

import logging
from pathlib import Path

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from core.errors import StorageError
from core.generators.integrity import manifest_digest

logger = logging.getLogger(__name__)

FILES_TAG = "timeloom.files"
_SCHEME = "models:/"


def pinned(uri: str) -> tuple[str, str | None]:
    """A model's URI that no moving alias changes, and the digest of `files.json` that was registered with it.

    Args:
        uri: `models:/name@alias`, `models:/name/version` or `models:/m-...`.

    Raises:
        MlflowException: there is no such model.
    """
    client, name = MlflowClient(), uri.removeprefix(_SCHEME)
    model, _, version = name.rpartition("/")
    if "@" in name:
        model, _, alias = name.partition("@")
        found = client.get_model_version_by_alias(model, alias)
    elif not model:
        return uri, client.get_logged_model(name).tags.get(FILES_TAG)
    elif version.isascii() and version.isdigit():
        found = client.get_model_version(model, version)
    else:
        raise MlflowException.invalid_parameter_value(f"expected {model}@alias or {model}/version, got {name}")
    return f"{_SCHEME}{model}/{found.version}", found.tags.get(FILES_TAG)


def check_files(folder: Path, uri: str, digest: str | None) -> None:
    """Compare a generator's files with what was registered.

    Raises:
        StorageError: they are others.
    """
    if digest is None:
        logger.warning(
            "%s has no tag %s: whether its files in %s are those that were registered cannot be told",
            uri,
            FILES_TAG,
            folder,
        )
    elif manifest_digest(folder) != digest:
        raise StorageError(
            f"the files of {uri} in {folder} are not those that were registered: somebody changed the artifact "
            "store. Find out who, then register the generator again or go back to another version"
        )
