"""Which version is the champion."""

from __future__ import annotations

import logging

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from core.config import JobConfig
from tasks.registry.log import JUDGED_TAG
from tasks.registry.versions import CHALLENGER, CHAMPION, SCORE_TAG, champion_of

logger = logging.getLogger(__name__)


def choose_champion(job: JobConfig, version: ModelVersion, client: MlflowClient) -> str:
    """Give the aliases; returns the higher one that the version has now."""
    name = job.model_name
    champion = champion_of(client, name)
    if champion is not None and champion.version == version.version:
        return CHAMPION
    client.set_registered_model_alias(name, CHALLENGER, version.version)
    promoted, reason = _promotes(job, version, champion)
    logger.info("%s version %s: %s", name, version.version, reason)
    client.set_model_version_tag(name, version.version, "promotion", reason)
    if promoted:
        client.set_registered_model_alias(name, CHAMPION, version.version)
    return CHAMPION if promoted else CHALLENGER


def _promotes(job: JobConfig, version: ModelVersion, champion: ModelVersion | None) -> tuple[bool, str]:
    rule = job.registry.promote
    if rule != "if_better":
        return rule == "always", f"registry.promote is {rule}"
    if champion is None:
        return True, "there was no champion"
    if version.tags.get(JUDGED_TAG) != champion.tags.get(JUDGED_TAG):
        return False, f"version {champion.version} was judged in another way: the scores do not compare"
    new, old = (float(v.tags.get(SCORE_TAG, "inf")) for v in (version, champion))
    verdict = "no worse than" if new <= old else "worse than"
    return new <= old, (f"discriminative score {new:.4f} is {verdict} {old:.4f} of version {champion.version}")
