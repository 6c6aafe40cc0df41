"""MLflow runs, always by explicit run id.

Its active run belongs to one thread and its default URI to one working directory: tasks have neither.
"""

from __future__ import annotations

import logging
import re
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlflow
import yaml
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunStatus, RunTag
from mlflow.exceptions import MlflowException
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor
from prefect import runtime
from prefect.utilities.urls import url_for
from pydantic import BaseModel, ConfigDict

from core.errors import BusyError, TrackingError
from core.handles import SnapshotRef
from core.lake import exclusive
from core.schema import Section
from core.settings import Settings
from core.sources.snapshots import user_name
from core.sources.stored import StoredRows
from core.training.metrics import Point, curves, read_points

logger = logging.getLogger(__name__)

# The limits of MLflow's REST interface.
MAX_METRICS = 1000
MAX_PARAMS = 100
MAX_PARAM_CHARACTERS = 6000

# MLflow's pages open an experiment without it as one of language models.
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}

FLUSH_SECONDS = 3.0
SYSTEM_METRICS_SECONDS = 5
PROFILED_ROWS = 100_000
_CREDENTIALS = re.compile(r"(\w://)[^/@\s]+@")
_INITIALISE_SECONDS = 120.0
_POINTS_A_BATCH = 60  # of up to 16 values each


class TrackedRun(BaseModel):
    """An MLflow run."""

    model_config = ConfigDict(frozen=True)

    tracking_uri: str
    experiment: str
    experiment_id: str
    run_id: str
    url: str

    @property
    def client(self) -> MlflowClient:
        """A client of this run's server."""
        return MlflowClient(tracking_uri=self.tracking_uri)

    def log_metrics(self, values: dict[str, float], step: int = 0) -> None:
        """Log single values in one call."""
        now = int(time.time() * 1000)
        self.client.log_batch(self.run_id, metrics=[Metric(k, v, now, step) for k, v in values.items()])

    def set_tags(self, tags: dict[str, str]) -> None:
        """Set tags in one call."""
        self.client.log_batch(self.run_id, tags=[RunTag(key, value) for key, value in tags.items()])

    def log_files(self, folder: Path, name: str, files: Sequence[str]) -> None:
        """Log those of a folder's files that are there as artifacts under `name`."""
        for file in files:
            if (folder / file).is_file():
                self.client.log_artifact(self.run_id, str(folder / file), name)

    def log_folder(self, folder: Path, name: str) -> None:
        """Log a folder's files as artifacts under `name`."""
        self.client.log_artifacts(self.run_id, str(folder), name)


def connect(settings: Settings) -> MlflowClient:
    """A client of the tracking server that `MLFLOW_TRACKING_URI` names, its database made if need be.

    Raises:
        TrackingError: the server does not answer.
    """
    uri = mlflow.get_tracking_uri()
    try:
        if uri.startswith("sqlite:///"):
            _initialise_once(uri, settings)
        client = MlflowClient(tracking_uri=uri)
        client.search_experiments(max_results=1)
    except (MlflowException, OSError) as error:
        raise TrackingError(without_password(f"MLflow at {uri} cannot be used: {error}")) from error
    return client


def without_password(uri: str) -> str:
    """A URI, or a text with URIs in it, that may be shown."""
    return _CREDENTIALS.sub(r"\1***@", uri)


@contextmanager
def tracked_run(config: Section, settings: Settings, *, experiment: str) -> Iterator[TrackedRun]:
    """An MLflow run around a flow run: finished, failed or killed as the block ends.

    Args:
        config: Logged as parameters and as `config.yaml`.
        settings: Where the lake is.
        experiment: Its name; made if need be.

    Raises:
        TrackingError: the server does not answer.
    """
    run = _create_run(experiment, settings)
    monitor: SystemMetricsMonitor | None = None
    status = RunStatus.FINISHED
    try:
        _describe(run, config)
        monitor = SystemMetricsMonitor(
            run.run_id, sampling_interval=SYSTEM_METRICS_SECONDS, tracking_uri=run.tracking_uri
        )
        monitor.start()
        yield run
    except Exception:
        status = RunStatus.FAILED
        raise
    except BaseException:  # Ctrl-C, cancellation, SIGTERM
        status = RunStatus.KILLED
        raise
    finally:
        _close(run, monitor, status)


def _close(run: TrackedRun, monitor: SystemMetricsMonitor | None, status: int) -> None:
    """End the run; a server that does not answer now must not hide how the job itself ended."""
    try:
        if monitor is not None:
            monitor.finish()
        run.client.set_terminated(run.run_id, RunStatus.to_string(status))
    except MlflowException as error:
        logger.warning("MLflow run %s could not be closed: %s", run.run_id, error)


def log_dataset(run: TrackedRun, snapshot: SnapshotRef, description: str) -> None:
    """Log a snapshot as the run's input: name, digest, schema, and where to read it."""
    frame = next(StoredRows.open(snapshot).batches(rows=PROFILED_ROWS)).to_pandas()
    # MLflow keeps at most 36 characters of a digest, and its own digest looks at a sample of the rows.
    with warnings.catch_warnings():
        # That a path might be two kinds of source, and that whole numbers cannot be missing: both known.
        warnings.simplefilter("ignore", UserWarning)
        dataset = mlflow.data.from_pandas(
            frame,
            source=str(snapshot.path / "data.parquet"),
            name=snapshot.dataset,
            digest=snapshot.digest[:32],
        )
        described = dataset.to_dict()
    tags = {
        "mlflow.data.context": "training",
        "sha256": snapshot.digest,
        "rows": str(snapshot.rows),
        "description": description[:200],
    }
    entity = DatasetInput(Dataset.from_dictionary(described), [InputTag(k, v) for k, v in tags.items()])
    run.client.log_inputs(run.run_id, datasets=[entity])


class CurveForwarder:
    """Sends a training's points to MLflow in batches, each point once per run.

    Points wait here, and in the training's own file, while the server does not answer: training goes on.
    """

    def __init__(self, run: TrackedRun) -> None:
        self.run = run
        self.pending: list[Point] = []
        self.flushed = time.monotonic()
        self.known: dict[str, set[int]] = {}
        self.followed = False

    def __call__(self, points: list[Point]) -> None:
        """Take points; send when they waited for long enough."""
        self.followed = True
        self.pending += points
        if time.monotonic() - self.flushed >= FLUSH_SECONDS:
            try:
                self.flush()
            except MlflowException as error:
                logger.warning("MLflow did not take %d points, trying later: %s", len(self.pending), error)
                self.flushed = time.monotonic()

    def flush(self) -> None:
        """Send everything that waits."""
        while self.pending:
            some = self.pending[:_POINTS_A_BATCH]
            new = [point for point in some if point.step not in self._logged(point.phase)]
            metrics = [Metric(key, value, ms, step) for key, step, ms, value in curves(new)]
            for batch in _batches(metrics, MAX_METRICS):
                self.run.client.log_batch(self.run.run_id, metrics=batch)
            del self.pending[: len(some)]
        self.flushed = time.monotonic()

    def finish(self, metrics_file: Path) -> None:
        """Send what a reused training wrote earlier, if it was not followed live, and everything that waits.

        Raises:
            TrackingError: the server still does not answer.
        """
        try:
            if not self.followed:
                self.pending += read_points(metrics_file)[0]
            self.flush()
        except MlflowException as error:
            raise TrackingError(f"MLflow did not take the training's curves: {error}") from error

    def _logged(self, phase: str) -> set[int]:
        """Steps of a phase that an earlier attempt of the same run has sent."""
        if phase not in self.known:
            history = self.run.client.get_metric_history(self.run.run_id, f"{phase}/milliseconds_per_step")
            self.known[phase] = {metric.step for metric in history}
        return self.known[phase]


def _initialise_once(uri: str, settings: Settings) -> None:
    """Make the tables of a SQLite file under a lock: two processes that do it at once destroy it."""
    Path(uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    settings.lake.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + _INITIALISE_SECONDS
    while True:
        try:
            with exclusive(settings.lake / ".mlflow.lock"):
                MlflowClient(tracking_uri=uri).search_experiments(max_results=1)
                return
        except BusyError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def _create_run(experiment: str, settings: Settings) -> TrackedRun:
    client = connect(settings)
    uri = str(client.tracking_uri)
    experiment_id = experiment_of(client, experiment, settings)
    created = client.create_run(experiment_id, run_name=str(runtime.flow_run.name))
    return TrackedRun(
        tracking_uri=uri,
        experiment=experiment,
        experiment_id=experiment_id,
        run_id=created.info.run_id,
        url=run_page(uri, experiment_id, created.info.run_id, settings),
    )


def _describe(run: TrackedRun, config: Section) -> None:
    flow_run_id, flow_run_name = str(runtime.flow_run.id), str(runtime.flow_run.name)
    flow_run_url = url_for("flow-run", obj_id=flow_run_id) or ""
    run.set_tags(
        {
            "mlflow.user": user_name(),
            "mlflow.source.name": "timeloom",
            "mlflow.source.type": "JOB",
            "prefect.flow_run_id": flow_run_id,
            "prefect.flow_run_name": flow_run_name,
            "prefect.flow_run_url": flow_run_url,
            "mlflow.note.content": f"Made by the Prefect flow run [{flow_run_name}]({flow_run_url}).",
        }
    )
    _log_config(run, config)


def _log_config(run: TrackedRun, config: Section) -> None:
    flat = {_param_name(key): str(value)[:MAX_PARAM_CHARACTERS] for key, value in config.flat().items()}
    params = [Param(key, value) for key, value in flat.items()]
    for batch in _batches(params, MAX_PARAMS):
        run.client.log_batch(run.run_id, params=batch)
    text = yaml.safe_dump(config.model_dump(mode="json", exclude_none=True), sort_keys=False)
    run.client.log_text(run.run_id, text, "config.yaml")


def _param_name(key: str) -> str:
    """MLflow allows letters, digits, `_ - . :` and spaces, and paths; a column may be named by anything."""
    return "".join(c if (c.isascii() and c.isalnum()) or c in "_-.: " else "_" for c in key)


def experiment_of(client: MlflowClient, name: str, settings: Settings) -> str:
    """The id of an experiment, made if need be."""
    if found := client.get_experiment_by_name(name):
        return str(found.experiment_id)
    # A server knows where its artifacts go; a bare database would put them into the working directory.
    served = str(client.tracking_uri).startswith("http")
    location = None if served else (settings.lake / "mlflow" / "artifacts" / name).as_uri()
    try:
        return str(client.create_experiment(name, artifact_location=location, tags=EXPERIMENT_TAGS))
    except MlflowException:  # another run made it in between
        return str(client.get_experiment_by_name(name).experiment_id)


def run_page(uri: str, experiment_id: str, run_id: str, settings: Settings) -> str:
    """Where a run is shown."""
    shown = _CREDENTIALS.sub(r"\1", uri).rstrip("/")
    address = shown if uri.startswith("http") else f"http://127.0.0.1:{settings.mlflow_port}"
    return f"{address}/#/experiments/{experiment_id}/runs/{run_id}"


def _batches(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
