"""Environment variables of Prefect and MLflow, set before either is imported; what the user set wins."""

from __future__ import annotations

import logging
import os

from core.settings import Settings

OWN_LOGGERS = ("core", "tasks", "flows")


def configure(settings: Settings) -> None:
    """Keep Prefect's and MLflow's state in the lake, their telemetry off, and our logs where runs show them."""
    lake = settings.lake
    defaults = {
        "PREFECT_HOME": str(lake / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "true",
        # Without these three the server loses records of task runs when it stops (batches of one, 5 s late).
        # Whole seconds: Prefect cuts the interval to an integer, and at 0 its recorder spins on a whole core.
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "100",
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "100",
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
        "PREFECT_LOGGING_EXTRA_LOGGERS": ",".join(OWN_LOGGERS),
        # Commands that work without a flow use the same code: Prefect would warn at every line of theirs.
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        "MLFLOW_TRACKING_URI": f"sqlite:///{lake / 'mlflow' / 'mlflow.db'}",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_LOGGING_LEVEL": "WARNING",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        # A tracking server that is down fails the call in half a minute, not in ten.
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
        "GIT_PYTHON_REFRESH": "quiet",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    os.environ["TIMELOOM_HOME"] = str(lake)  # absolute, for children in other folders
    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    for name in OWN_LOGGERS:
        logging.getLogger(name).setLevel(settings.log_level)
