"""Thin Prefect tasks, one per verb: each calls `core`, logs to MLflow and shows an artifact in Prefect."""
