"""`deploy/prefect.yaml` as this program reads it: what `prefect deploy --all` sends to a server, served here.

Prefect has no public reader of that file. This one knows the keys that our deployments use and refuses others,
so that no deployment is served otherwise than it would be deployed.
"""

from __future__ import annotations

import difflib
import importlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, cast
from zoneinfo import available_timezones

import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from core.errors import ConfigError
from core.schema import validated
from core.settings import PROJECT_ROOT

if TYPE_CHECKING:
    from prefect import Flow
    from prefect.deployments.runner import RunnerDeployment
    from prefect.schedules import Schedule

DEPLOYMENTS_FILE = PROJECT_ROOT / "deploy" / "prefect.yaml"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ScheduleSpec(_Part):
    """When a deployment runs."""

    slug: str = Field(min_length=1, description="Names the schedule, so that deploying again changes it.")
    cron: str = Field(min_length=1, description="Five fields: minute, hour, day, month, weekday.")
    timezone: str = Field(min_length=1, description="IANA name; the cron's hours are this zone's.")
    active: bool = True
    parameters: dict[str, Any] = Field(default_factory=dict)

    @field_validator("timezone")
    @classmethod
    def _is_a_zone(cls, name: str) -> str:
        if name not in available_timezones():
            near = difflib.get_close_matches(name, available_timezones(), n=1)
            hint = f"; did you mean {near[0]}?" if near else "."
            raise ValueError(f"there is no time zone {name!r}{hint} Expected an IANA name, as America/New_York")
        return name

    def schedule(self) -> Schedule:
        """As Prefect has it.

        Raises:
            ConfigError: `cron` is none.
        """
        from prefect.schedules import Schedule

        try:
            return Schedule(**self.model_dump())
        except ValueError as error:
            raise ConfigError(
                f"schedule {self.slug}: {self.cron!r} is no cron: expected minute, hour, day, month, weekday, "
                f"as '30 18 * * 1-5' ({error})"
            ) from error


class ConcurrencySpec(_Part):
    """How many runs of a deployment there may be at a time, and what a run too many does."""

    limit: int = Field(ge=1)
    collision_strategy: Literal["ENQUEUE", "CANCEL_NEW"] = "ENQUEUE"


class PoolSpec(_Part):
    """Where workers find the runs; not used where a deployment is served."""

    name: str
    work_queue_name: str | None = None
    job_variables: dict[str, Any] = Field(default_factory=dict)


class DeploymentSpec(_Part):
    """One entry of `deployments:`."""

    name: str = Field(min_length=1)
    entrypoint: str = Field(pattern=r"^[A-Za-z_][\w.]*\.\w+$", description="As flows.train.train.")
    description: str | None = None
    tags: tuple[str, ...] = ()
    parameters: dict[str, Any] = Field(default_factory=dict)
    schedules: tuple[ScheduleSpec, ...] = ()
    concurrency_limit: ConcurrencySpec | None = None
    work_pool: PoolSpec

    def flow(self) -> Flow[..., Any]:
        """The flow that `entrypoint` names.

        Raises:
            ConfigError: there is no such module or no such flow in it.
        """
        from prefect import Flow

        module, _, name = self.entrypoint.rpartition(".")
        try:
            found = getattr(importlib.import_module(module), name, None)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{module}.".startswith(f"{error.name}."):
                raise  # the module is there, something that it needs is not
            found = None
        if not isinstance(found, Flow):
            raise ConfigError(f"deployment {self.name}: there is no flow {self.entrypoint}")
        return found

    def served(self) -> RunnerDeployment:
        """The deployment for `prefect.serve`: everything but the work pool."""
        from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
        from prefect.types.entrypoint import EntrypointType

        limit = self.concurrency_limit
        deployment = self.flow().to_deployment(
            name=self.name,
            parameters=self.parameters,
            schedules=[schedule.schedule() for schedule in self.schedules],
            concurrency_limit=ConcurrencyLimitConfig(
                limit=limit.limit, collision_strategy=ConcurrencyLimitStrategy(limit.collision_strategy)
            )
            if limit
            else None,
            tags=list(self.tags),
            description=self.description,
            entrypoint_type=EntrypointType.MODULE_PATH,
        )
        return cast("RunnerDeployment", deployment)  # a coroutine within an event loop only


class DeploymentsFile(_Part):
    """The whole file."""

    name: str
    pull: tuple[dict[str, dict[str, Any]], ...] = ()
    definitions: dict[str, Any] = Field(default_factory=dict, description="YAML anchors; not read.")
    deployments: tuple[DeploymentSpec, ...] = Field(min_length=1)

    @field_validator("deployments")
    @classmethod
    def _names_are_told_apart(cls, specs: tuple[DeploymentSpec, ...]) -> tuple[DeploymentSpec, ...]:
        names = [(spec.entrypoint, spec.name) for spec in specs]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"{twice[0][0]} has two deployments of the name {twice[0][1]!r}")
        return specs

    @model_validator(mode="after")
    def _slugs_are_told_apart(self) -> Self:
        for spec in self.deployments:
            slugs = [schedule.slug for schedule in spec.schedules]
            if len(set(slugs)) < len(slugs):
                raise ValueError(f"deployment {spec.name}: its schedules need slugs that differ, got {slugs}")
        return self


def read_deployments(path: Path = DEPLOYMENTS_FILE) -> tuple[DeploymentSpec, ...]:
    """The deployments of a `prefect.yaml`, checked.

    Raises:
        ConfigError: the file is missing, is no YAML, or says what we do not know.
    """
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"there is no {path}: it comes with the checkout") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no YAML: {error}") from error
    return validated(DeploymentsFile, tree, source=str(path)).deployments


def enter_checkout() -> dict[str, str]:
    """Pull step of `deploy/prefect.yaml`: run where Timeloom is installed on this worker, wherever that is.

    Instead of Prefect's `set_working_directory`, which would need a path of each machine, and of no pull step
    at all, upon which a process worker copies the folder that it was started in, lake and environment included.
    """
    os.chdir(PROJECT_ROOT)
    return {"directory": str(PROJECT_ROOT)}
