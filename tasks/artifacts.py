"""What a flow run shows in the Prefect UI."""

from __future__ import annotations

import base64
import logging
import time
from pathlib import Path
from uuid import UUID

import httpx
from prefect.artifacts import (
    create_image_artifact,
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.exceptions import PrefectException

logger = logging.getLogger(__name__)

PROGRESS_SECONDS = 3.0


def show_link(key: str, url: str, text: str) -> None:
    """A link; `key` is lower-case letters, digits and dashes, as for every artifact."""
    create_link_artifact(link=url, link_text=text, key=key, description=text)


def show_markdown(key: str, text: str, description: str) -> None:
    """A page of Markdown."""
    create_markdown_artifact(markdown=text, key=key, description=description)


def show_scores(scores: dict[str, float]) -> None:
    """The scores as a table."""
    rows = [{"score": name, "value": f"{value:.4f}"} for name, value in scores.items()]
    show_table("scores", rows, "Scores of the synthetic windows")


def show_table(key: str, rows: list[dict[str, str]], description: str) -> None:
    """Rows with the same columns."""
    create_table_artifact(table=rows, key=key, description=description)


def show_plots(folder: Path) -> None:
    """Every PNG of a folder, inside the artifact: the Prefect server serves no files of ours."""
    for path in sorted(folder.glob("*.png")):
        data = base64.b64encode(path.read_bytes()).decode("ascii")
        create_image_artifact(
            image_url=f"data:image/png;base64,{data}",
            key=f"plot-{path.stem.replace('_', '-')}",
            description=path.stem.replace("_", " "),
        )


class ProgressArtifact:
    """A bar in the Prefect UI, sent every few seconds."""

    def __init__(self, key: str, description: str) -> None:
        self.id: UUID = create_progress_artifact(progress=0.0, key=key, description=description)  # type: ignore[assignment]
        self.sent = time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        """Show how far it is; the end is always sent."""
        if done < total and time.monotonic() - self.sent < PROGRESS_SECONDS:
            return
        self.sent = time.monotonic()
        try:
            update_progress_artifact(artifact_id=self.id, progress=100 * done / max(total, 1))
        except (httpx.HTTPError, PrefectException) as error:  # a bar is no reason to stop a training
            logger.warning("Prefect did not take the progress: %s", error)
