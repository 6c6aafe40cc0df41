"""The MLflow run of a watched model: one for all looks at it, so that its metrics are curves over time."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

import yaml
from mlflow import MlflowClient
from mlflow.entities import Run, RunStatus
from mlflow.exceptions import MlflowException
from prefect import runtime
from prefect.utilities.urls import url_for

from core.lake import exclusive
from core.settings import Settings
from core.sources.snapshots import user_name
from core.watch.options import WatchConfig
from tasks.tracking import TrackedRun, connect, experiment_of, run_page

logger = logging.getLogger(__name__)

WATCH_TAG = "timeloom.watch"
"""Of the run: the registered model that is watched."""
LOOKS_TAG = "timeloom.looks"
"""How many looks it holds."""
WAIT_SECONDS = 6 * 3600.0
"""How long a look waits for another one at the same model."""


class WatchedRun(TrackedRun):
    """A run that holds many looks; metrics are logged at the number of this one."""

    look: int
    """From 1."""

    @property
    def folder(self) -> str:
        """Of this look among the run's artifacts."""
        return f"looks/{self.look:04d}"

    def log_metrics(self, values: dict[str, float], step: int = 0) -> None:
        """Log single values in one call."""
        super().log_metrics(values, step or self.look)


@contextmanager
def watched_run(config: WatchConfig, settings: Settings) -> Iterator[WatchedRun]:
    """The run of the watched model around one more look at it; one look at a time on a lake.

    A look that fails does not count: the next one has its number.

    Raises:
        BusyError: another look at this model is still going on after hours.
        TrackingError: the server does not answer.
    """
    folder = settings.lake / "watch"
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive(folder / f".{config.model_name}.lock", WAIT_SECONDS):
        client = connect(settings)
        run = _run(client, config, settings)
        status = RunStatus.FINISHED
        try:
            _describe(run, config)
            yield run
            run.set_tags({LOOKS_TAG: str(run.look)})
        except Exception:
            status = RunStatus.FAILED
            raise
        except BaseException:  # Ctrl-C, cancellation, SIGTERM
            status = RunStatus.KILLED
            raise
        finally:
            _close(run, status)


def _run(client: MlflowClient, config: WatchConfig, settings: Settings) -> WatchedRun:
    name, experiment = config.model_name, config.dataset.name
    experiment_id = experiment_of(client, experiment, settings)
    found = client.search_runs([experiment_id], f"tags.`{WATCH_TAG}` = '{name}'", max_results=1)
    run: Run = (
        found[0]
        if found
        else client.create_run(experiment_id, run_name=f"watch-{name}", tags={WATCH_TAG: name, LOOKS_TAG: "0"})
    )
    uri = str(client.tracking_uri)
    return WatchedRun(
        tracking_uri=uri,
        experiment=experiment,
        experiment_id=experiment_id,
        run_id=run.info.run_id,
        url=run_page(uri, experiment_id, run.info.run_id, settings),
        look=int(run.data.tags.get(LOOKS_TAG, "0")) + 1,
    )


def _describe(run: WatchedRun, config: WatchConfig) -> None:
    """Of the latest look; what each was asked for lies in its folder."""
    run.client.update_run(run.run_id, status=RunStatus.to_string(RunStatus.RUNNING))
    flow_run_id, flow_run_name = str(runtime.flow_run.id), str(runtime.flow_run.name)
    run.set_tags(
        {
            "mlflow.user": user_name(),
            "mlflow.source.name": "timeloom",
            "mlflow.source.type": "JOB",
            "prefect.flow_run_id": flow_run_id,
            "prefect.flow_run_name": flow_run_name,
            "prefect.flow_run_url": url_for("flow-run", obj_id=flow_run_id) or "",
            "mlflow.note.content": f"All looks at the champion of `{config.model_name}`, one a step. The "
            f"latest: look {run.look}, in the artifacts' folder `{run.folder}`.",
        }
    )
    text = yaml.safe_dump(config.model_dump(mode="json", exclude_none=True), sort_keys=False)
    run.client.log_text(run.run_id, text, f"{run.folder}/config.yaml")


def _close(run: WatchedRun, status: int) -> None:
    """End the run; a server that does not answer now must not hide how the look itself ended."""
    try:
        run.client.set_terminated(run.run_id, RunStatus.to_string(status), end_time=int(time.time() * 1000))
    except MlflowException as error:
        logger.warning("MLflow run %s could not be closed: %s", run.run_id, error)
