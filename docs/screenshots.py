"""Pictures of the documentation: real pages of real runs, by headless Chromium.

Run `make run` and the same with another `--seed` first, leave `timeloom serve` and `timeloom ui` open in two
other terminals, then

    pip install -e '.[docs]' && python docs/screenshots.py

The browser is the system's (`CHROMIUM`, by default /usr/bin/chromium).
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from urllib.parse import quote
from urllib.request import urlopen

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
    server, _, flow_run = prefect.partition("/runs/flow-run/")
    with urlopen(f"{server}/api/deployments/name/train/{dataset}") as answer:  # noqa: S310 - our own server
        deployment = f"{server}/v2/deployments/deployment/{json.load(answer)['id']}"
    mlflow_page = f"http://127.0.0.1:{settings.mlflow_port}/#"
    PICTURES.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        shoot(browser, f"{server}/v2/runs/flow-run/{flow_run}", "prefect-flow-run")
        shoot(browser, f"{server}/v2/runs/flow-run/{flow_run}", "prefect-artifacts", tab="Artifacts")
        shoot(browser, f"{server}/v2/deployments", "prefect-deployments")
        shoot(browser, deployment, "prefect-schedule")
        shoot(browser, f"{deployment}/run", "prefect-form")
        shoot(browser, f"{mlflow_page}/models/{dataset}-timegan", "mlflow-registry")
        shoot(browser, f"{mlflow_page}/compare-runs?{compared(run)}", "mlflow-compare")
        shoot(browser, pages, "mlflow-run")
        shoot(browser, f"{pages}/model-metrics", "mlflow-metrics", search="joint/loss")
        shoot(browser, Path(report).as_uri(), "evaluation-report", height=1700)
        browser.close()


def latest_run(dataset: str) -> Run:
    """The newest finished MLflow run of a dataset."""
    client = MlflowClient(tracking_uri=mlflow.get_tracking_uri())
    experiment = client.get_experiment_by_name(dataset)
    runs = client.search_runs([experiment.experiment_id], "attributes.status = 'FINISHED'")
    return next(run for run in runs if "timeloom.watch" not in run.data.tags)


def compared(run: Run) -> str:
    """The part of an address that names a run and the one before it, of the same experiment."""
    found = MlflowClient().search_runs([run.info.experiment_id], "attributes.status = 'FINISHED'")
    trained = [each.info.run_id for each in found if "timeloom.watch" not in each.data.tags]
    parts = {"runs": trained[:2], "experiments": [run.info.experiment_id]}
    return "&".join(f"{name}={quote(json.dumps(value))}" for name, value in parts.items())


def shoot(
    browser: Browser, url: str, name: str, *, search: str = "", tab: str = "", height: int = 1000
) -> None:
    """One page to `pictures/<name>.png`, after it has settled."""
    page = browser.new_page(viewport={"width": 1500, "height": height})
    page.goto(url)
    page.wait_for_timeout(SETTLE_MS)
    for button in page.get_by_role("button", name="Close").all():  # MLflow's assistant covers a third
        button.click()
        page.wait_for_timeout(500)
    if tab:
        page.get_by_role("tab", name=tab).first.click()
        page.wait_for_timeout(SETTLE_MS // 2)
    if search:
        page.get_by_placeholder("Search metric charts").fill(search)
        page.wait_for_timeout(SETTLE_MS // 2)
    page.screenshot(path=PICTURES / f"{name}.png")
    page.close()
    print(f"{name}: {url}")


if __name__ == "__main__":
    main()
