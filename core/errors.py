"""The errors of Timeloom, grouped by who must act.

A message says what was expected, what came and what to do. `retryable` tells the tasks whether trying the
same thing again can help; `exit_code` is the command line's (1: the job failed, 2: the call is wrong).
"""

from __future__ import annotations


class TimeloomError(Exception):
    """Base of every error that Timeloom raises on purpose."""

    retryable: bool = False
    exit_code: int = 1


class ConfigError(TimeloomError):
    """The call or the configuration is wrong: the user changes it."""

    exit_code = 2


class DataError(TimeloomError):
    """The data cannot be used as they are: the data's owner mends them or states a policy."""


class TrainingError(TimeloomError):
    """Training failed."""


class TrainingDivergedError(TrainingError):
    """A loss became NaN or infinite; the same seed and data would do it again."""


class TrainingInterruptedError(TrainingError):
    """Training was told to stop and left a checkpoint; running the same job again resumes."""


class TrainingKilledError(TrainingError):
    """The training process died from outside (out of memory, a signal); its checkpoint is there to resume."""

    retryable = True


class StorageError(TimeloomError):
    """A file could not be written or read back: disk, permissions, a damaged artefact."""


class SourceError(TimeloomError):
    """A source behind the network (a database, a URL) could not be reached or broke off."""

    retryable = True


class TargetError(TimeloomError):
    """What is written to behind the network could not be reached or broke off."""

    retryable = True


class BusyError(TimeloomError):
    """Another process works on the same artefact; trying later helps."""

    retryable = True


class TrackingError(TimeloomError):
    """The Prefect API or the MLflow server could not be reached or refused a request."""

    retryable = True
