"""Pictures of the documentation: real pages of a real run, by headless Chromium.

Run `make run` first, leave `make ui` open in another terminal, then

    pip install -e '.[docs]' && python docs/screenshots.py

The browser is the system's (`CHROMIUM`, by default /usr/bin/chromium).
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities import Run
from playwright.sync_api import Browser, sync_playwright

from core.settings import Settings
from flows.environment import configure

PICTURES = Path(__file__).with_name("pictures")
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
SETTLE_MS = 6000


def main() -> None:
    """Take every picture of one run of a dataset."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", nargs="?", default="sp500")
    parser.add_argument("--run", help="MLflow run id; the latest finished one if empty")
    arguments = parser.parse_args()
    dataset = arguments.dataset
    settings = Settings()
    configure(settings)
    run = MlflowClient().get_run(arguments.run) if arguments.run else latest_run(dataset)
    prefect = run.data.tags["prefect.flow_run_url"]
    pages = (
        f"http://127.0.0.1:{settings.mlflow_port}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
    )
    report = download_artifacts(run_id=run.info.run_id, artifact_path="evaluation/report.html")
    PICTURES.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        shoot(browser, prefect, "prefect-flow-run")
        shoot(browser, pages, "mlflow-run")
        shoot(browser, f"{pages}/model-metrics", "mlflow-metrics", search="joint/loss")
        shoot(browser, Path(report).as_uri(), "evaluation-report", height=1700)
        browser.close()


def latest_run(dataset: str) -> Run:
    """The newest finished MLflow run of a dataset."""
    client = MlflowClient(tracking_uri=mlflow.get_tracking_uri())
    experiment = client.get_experiment_by_name(dataset)
    runs = client.search_runs([experiment.experiment_id], "attributes.status = 'FINISHED'", max_results=1)
    return runs[0]


def shoot(browser: Browser, url: str, name: str, *, search: str = "", height: int = 1000) -> None:
    """One page to `pictures/<name>.png`, after it has settled."""
    page = browser.new_page(viewport={"width": 1500, "height": height})
    page.goto(url)
    page.wait_for_timeout(SETTLE_MS)
    for button in page.get_by_role("button", name="Close").all():  # MLflow's assistant covers a third
        button.click()
        page.wait_for_timeout(500)
    if search:
        page.get_by_placeholder("Search metric charts").fill(search)
        page.wait_for_timeout(SETTLE_MS // 2)
    page.screenshot(path=PICTURES / f"{name}.png")
    page.close()
    print(f"{name}: {url}")


if __name__ == "__main__":
    main()
