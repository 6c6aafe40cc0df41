"""Changing the alias `champion`: by a decision, by hand, and back."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from core.errors import ConfigError, StorageError
from core.generators.bundle import GeneratorBundle
from core.lake import exclusive
from tasks.registry.history import How, history, line_of_champions, record, was_champion
from tasks.registry.versions import (
    CHAMPION,
    KEY_TAG,
    champion_of,
    fetched,
    find_alias,
    find_number,
    has_model,
    split_name,
)

logger = logging.getLogger(__name__)

PREVIOUS_TAG = "previous_champion"
TURN_SECONDS = 60.0
"""How long to wait for another process that changes the same model's champion: it takes a few requests."""


@contextmanager
def turn(lake: Path, name: str) -> Iterator[None]:
    """One change of a model's champion at a time, among processes that share this lake.

    Raises:
        BusyError: another process still held it after `TURN_SECONDS`.
    """
    folder = lake / "promotions" / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"could not write {folder}: {error}") from error
    with exclusive(folder / ".turn.lock", TURN_SECONDS):
        yield


def set_champion(client: MlflowClient, name: str, version: str, how: How, why: str) -> str | None:
    """Point the alias to a version and record it, each once; to be called in one's turn.

    Returns:
        The champion before, None if there was none.
    """
    champion, changes = champion_of(client, name), history(client, name)  # both read before anything is written
    before = None if champion is None else str(champion.version)
    if before == version:
        if changes and changes[-1].after == version:
            return before
        # The alias was set and the process died before it was recorded.
        before = changes[-1].after if changes else None
    client.set_model_version_tag(name, version, PREVIOUS_TAG, before or "none")
    client.set_registered_model_alias(name, CHAMPION, version)
    record(client, name, how, before, version, why)
    logger.info("%s: version %s is the champion, before it %s (%s: %s)", name, version, before, how, why)
    return before


def promote_by_hand(client: MlflowClient, lake: Path, model: str, why: str) -> tuple[str, str, str | None]:
    """Make a version the champion whatever the gates say.

    Args:
        client: Of the registry.
        lake: Where the turn is taken.
        model: `name/version` or `name@alias`.
        why: Kept in the history.

    Returns:
        Name, version, and the champion before: the version itself if it was that already.

    Raises:
        ConfigError: there is no such version, or it cannot be used; the champion stays.
        BusyError: somebody else is at it.
    """
    version = find(client, model)
    name, number = version.name, str(version.version)
    _check_usable(version)
    with turn(lake, name):
        champion = champion_of(client, name)
        if champion is not None and str(champion.version) == number:
            return name, number, number
        return name, number, set_champion(client, name, number, "hand", why)


def roll_back(client: MlflowClient, lake: Path, name: str, to: str | None, why: str) -> tuple[str, str]:
    """Make the champion before the present one the champion again, or an earlier one.

    Args:
        client: Of the registry.
        lake: Where the turn is taken.
        name: Of the registered model.
        to: Version that was the champion once; None: the one before, versions that were deleted passed over.
        why: Kept in the history.

    Returns:
        The version taken back and the one that is the champion now.

    Raises:
        ConfigError: there is nothing to go back to, or it cannot be used; the champion stays.
        BusyError: somebody else is at it.
    """
    if not has_model(client, name):
        raise ConfigError(f"there is no registered model {name!r}: `timeloom models` lists them")
    with turn(lake, name):
        champion = champion_of(client, name)
        if champion is None:
            raise ConfigError(f"{name} has no champion to take back: timeloom promote {name}/VERSION makes one")
        before = str(champion.version)
        version = _wanted(client, name, before, to) if to else _one_before(client, name, before)
        _check_usable(version)
        after = str(version.version)
        client.set_registered_model_alias(name, CHAMPION, after)
        record(client, name, "rollback", before, after, why)
    logger.info("%s: rolled back from version %s to %s (%s)", name, before, after, why)
    return before, after


def find(client: MlflowClient, model: str) -> ModelVersion:
    """The version `name/version` or `name@alias`.

    Raises:
        ConfigError: there is none.
    """
    name, version, alias = split_name(model)
    found = find_alias(client, name, alias) if alias else find_number(client, name, version)
    if found is None:
        raise ConfigError(f"there is no model {model!r}: `timeloom models` lists the versions")
    return found


def _one_before(client: MlflowClient, name: str, champion: str) -> ModelVersion:
    line = line_of_champions(history(client, name))
    if line and line[-1] == champion:
        line.pop()
    for version in reversed(line):
        if version == champion:
            continue
        found = find_number(client, name, version)
        if found is not None:
            return found
        logger.warning("%s: version %s was the champion before, but has been deleted", name, version)
    raise ConfigError(
        f"{name} has nothing to roll back to: no version was the champion before {champion}; "
        f"timeloom promote {name}/VERSION makes another one the champion"
    )


def _wanted(client: MlflowClient, name: str, champion: str, to: str) -> ModelVersion:
    if to == champion:
        raise ConfigError(f"version {to} of {name} is the champion already")
    version = find(client, f"{name}/{to}")
    changes = history(client, name)
    if not was_champion(changes, to) and not any(change.before == to for change in changes):
        raise ConfigError(
            f"version {to} of {name} never was the champion: timeloom promote {name}/{to} makes it so"
        )
    return version


def _check_usable(version: ModelVersion) -> None:
    """A champion serves: what cannot be loaded must not become one."""
    called = f"{version.name}/{version.version}"
    if version.status != "READY" or KEY_TAG not in version.tags:
        what = f"is {version.status}" if version.status != "READY" else "was not registered by Timeloom"
        raise ConfigError(f"{called} {what}: it cannot become the champion")
    try:
        with fetched(called) as folder:
            GeneratorBundle.load(folder)
    except (ConfigError, StorageError) as error:
        raise ConfigError(f"{called} cannot become the champion, its files cannot be used: {error}") from error
