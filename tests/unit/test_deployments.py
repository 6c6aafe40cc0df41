"""What `deploy/` says, against the flows, Prefect's own schemas and settings, and each other."""

from __future__ import annotations

import asyncio
import json
import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import prefect
import pytest
import yaml
from prefect.settings import Settings as PrefectSettings
from prefect.settings.legacy import _get_valid_setting_names
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools import ValidationError, validate
from prefect.utilities.templating import apply_values
from prefect.workers.process import ProcessJobConfiguration
from prefect_redis.client import RedisMessagingSettings

from core.config import KINDS, JobConfig, build_job
from core.errors import ConfigError
from core.generation.options import GenerationConfig
from core.generation.target import target_of
from core.settings import PROJECT_ROOT, Settings
from core.sources.resolve import resolve_dataset
from flows.deployments import DEPLOYMENTS_FILE, DeploymentSpec, enter_checkout, read_deployments
from flows.train import train
from tasks.gpu import NO_LIMIT

DEPLOY = PROJECT_ROOT / "deploy"
SPECS = {spec.entrypoint.rpartition(".")[2]: spec for spec in read_deployments()}


def compose(name: str = "compose.yaml") -> dict[str, Any]:
    tree: dict[str, Any] = yaml.safe_load((DEPLOY / name).read_text())
    return tree


@cache
def schema_of(flow: Any) -> dict[str, Any]:
    """As the server and the form get it."""
    found: dict[str, Any] = parameter_schema(flow).model_dump_for_openapi()
    return found


def variables_in(text: str) -> set[str]:
    return set(re.findall(r"\$\{(\w+)", text))


# The file of deployments.


@pytest.mark.parametrize("name", ["ingest", "train", "watch", "generate"])
def test_each_flow_takes_the_parameters_of_its_deployment(name: str) -> None:
    spec = SPECS[name]
    flow = spec.flow()
    assert flow.name == name
    flow.validate_parameters(spec.parameters)
    validate(spec.parameters, schema_of(flow), raise_on_error=True)


def test_a_served_deployment_is_the_one_of_the_file() -> None:
    raw = {entry["entrypoint"]: entry for entry in yaml.safe_load(DEPLOYMENTS_FILE.read_text())["deployments"]}
    for spec in SPECS.values():
        served, written = spec.served(), raw[spec.entrypoint]
        assert (served.name, served.entrypoint) == (written["name"], written["entrypoint"])
        assert (served.parameters, served.tags) == (written["parameters"], written["tags"])
        assert served.description == written["description"]
        (schedule,), (asked,) = served.schedules, written["schedules"]
        assert (schedule.schedule.cron, schedule.schedule.timezone) == (asked["cron"], asked["timezone"])
        assert (schedule.slug, schedule.active) == (asked["slug"], asked.get("active", True))
        assert (served.concurrency_limit, served.concurrency_options.collision_strategy) == (1, "ENQUEUE")
        assert served.work_pool_name is None


ENTRY = {
    "name": "one",
    "entrypoint": "flows.train.train",
    "parameters": {},
    "schedules": [{"slug": "s", "cron": "0 6 * * 6", "timezone": "America/New_York"}],
    "work_pool": {"name": "timeloom"},
}
SCHEDULE = ENTRY["schedules"][0]  # type: ignore[index]


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([{**ENTRY, "schedule": {"cron": "* * * * *"}}], "unknown key"),
        (
            [{**ENTRY, "schedules": [{**SCHEDULE, "timezone": "America/NewYork"}]}],
            "did you mean America/New_York",
        ),
        ([{**ENTRY, "schedules": [{"cron": "0 6 * * 6", "timezone": "UTC"}]}], "slug"),
        ([{**ENTRY, "schedules": [SCHEDULE, SCHEDULE]}], "slugs that differ"),
        ([ENTRY, ENTRY], "two deployments of the name 'one'"),
        ([{**ENTRY, "concurrency_limit": {"limit": 0}}], "limit"),
        ([{**ENTRY, "entrypoint": "flows/train.py:train"}], "entrypoint"),
        ([], "deployments"),
    ],
    ids=["key", "zone", "no-slug", "same-slug", "same-name", "limit", "entrypoint", "none"],
)
def test_a_wrong_file_is_refused_before_anything_is_served(tmp_path: Path, entries: Any, said: str) -> None:
    file = tmp_path / "prefect.yaml"
    file.write_text(yaml.safe_dump({"name": "timeloom", "deployments": entries}))
    with pytest.raises(ConfigError, match=said) as caught:
        read_deployments(file)
    assert str(file) in str(caught.value)


def test_a_file_that_is_none_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no"):
        read_deployments(tmp_path / "prefect.yaml")
    (tmp_path / "prefect.yaml").write_text("a: [")
    with pytest.raises(ConfigError, match="is no YAML"):
        read_deployments(tmp_path / "prefect.yaml")


@pytest.mark.parametrize(
    "entrypoint", ["flows.nowhere.train", "flows.train.nothing", "flows.train.TrainResult"]
)
def test_an_entry_without_a_flow_is_refused(entrypoint: str) -> None:
    with pytest.raises(ConfigError, match="there is no flow"):
        DeploymentSpec.model_validate({**ENTRY, "entrypoint": entrypoint}).flow()


def test_a_cron_that_is_none_is_refused() -> None:
    spec = DeploymentSpec.model_validate({**ENTRY, "schedules": [{**SCHEDULE, "cron": "0 25 * * *"}]})
    with pytest.raises(ConfigError, match=r"schedule s: '0 25 \* \* \*' is no cron"):
        spec.served()


def test_the_pull_step_goes_where_timeloom_is_installed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert enter_checkout() == {"directory": str(PROJECT_ROOT)}
    assert Path.cwd() == PROJECT_ROOT
    (step,) = yaml.safe_load(DEPLOYMENTS_FILE.read_text())["pull"]
    assert list(step) == [f"{enter_checkout.__module__}.{enter_checkout.__name__}"]


def test_what_is_generated_lies_in_the_lake_of_the_worker(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    output = GenerationConfig.model_validate(SPECS["generate"].parameters["job"]).output
    monkeypatch.setenv("TIMELOOM_HOME", str(tmp_path))
    assert target_of(output, tmp_path).address == str(tmp_path / "synthetic" / "sp500.parquet")
    monkeypatch.delenv("TIMELOOM_HOME")
    with pytest.raises(ConfigError, match="not set"):
        target_of(output, tmp_path)


# The form of a run. What it sends is known from the V2 pages of Prefect 3.8: every default that it finds in the
# schema, the first model of a union, and what somebody typed.


def prefilled(schema: dict[str, Any], part: dict[str, Any]) -> Any:
    """What the form sends of a field that nobody touched; None: nothing."""
    part = part.get("oneOf", [part])[0] if "default" not in part else part
    if "$ref" in part:
        part = {**part, **schema["definitions"][part["$ref"].rpartition("/")[2]]}
    if "default" in part:
        return part["default"]
    filled = {name: prefilled(schema, inner) for name, inner in part.get("properties", {}).items()}
    return {name: value for name, value in filled.items() if value is not None} or None


def merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    tree = dict(under)
    for key, value in over.items():
        tree[key] = (
            merged(tree[key], value) if isinstance(value, dict) and isinstance(tree.get(key), dict) else value
        )
    return tree


@pytest.mark.parametrize("preset", ["quick", "paper"])
def test_a_form_that_nobody_touched_leaves_the_preset_as_it_is(preset: str) -> None:
    schema = schema_of(train)
    sent = merged(prefilled(schema, schema["properties"]["job"]), {"dataset": "sp500", "preset": preset})
    assert sent["training"]["cuda_graphs"] is True  # a switch shows what holds
    validate({"job": sent}, schema, raise_on_error=True)
    dataset = resolve_dataset("sp500", Settings().catalog).dataset
    assert JobConfig.model_validate(sent).flat() == build_job(dataset, preset=preset).flat()


@pytest.mark.parametrize("kind", KINDS)
def test_choosing_a_generator_in_the_form_chooses_it(kind: str) -> None:
    schema = schema_of(train)
    models = schema["definitions"]["JobConfig"]["properties"]["model"]["oneOf"]
    chosen = [model for model in models if prefilled(schema, model)["kind"] == kind]
    (name,) = [schema["definitions"][model["$ref"].rpartition("/")[2]]["title"] for model in chosen]
    assert name == kind  # what the button says
    job = {"dataset": "sp500", "preset": "quick", "model": prefilled(schema, chosen[0])}
    validate({"job": job}, schema, raise_on_error=True)
    assert JobConfig.model_validate(job).model.kind == kind


def test_a_generator_is_timegan_unless_said_for_the_server_as_for_the_flow() -> None:
    schema = schema_of(train)
    job = {"dataset": "sp500", "model": {"hidden": 6, "layers": 1}}
    validate({"job": job}, schema, raise_on_error=True)
    assert JobConfig.model_validate(job).model.kind == "timegan"


@pytest.mark.parametrize(
    "change",
    [
        {"window": {"length": 1}},
        {"training": {"batch_size": "many"}},
        {"preset": "fast"},
        {"modle": {}},
        {"model": {"kind": "gan"}},
    ],
    ids=["low", "text", "choice", "unknown", "kind"],
)
def test_the_server_refuses_what_the_flow_would(change: dict[str, Any]) -> None:
    schema = schema_of(train)
    with pytest.raises(ValidationError):
        validate({"job": {"dataset": "sp500", **change}}, schema, raise_on_error=True)


def test_every_field_of_a_section_is_described_and_in_its_place() -> None:
    schema = schema_of(train)
    job = schema["definitions"]["JobConfig"]["properties"]
    assert list(job) == list(JobConfig.model_fields)
    for name in ("WindowConfig", "TimeGANConfig", "TrainingConfig", "EvaluationConfig", "GatesConfig"):
        section = schema["definitions"][name]
        assert [field["position"] for field in section["properties"].values()] == list(
            range(len(section["properties"]))
        )
        for field in section["properties"].values():
            assert "description" in field or "$ref" in field
    batch = schema["definitions"]["TrainingConfig"]["properties"]["batch_size"]
    assert batch["description"] == "Windows in a batch. Default: 128."
    assert (batch["minimum"], "default" in batch) == (2, False)


# Work pools.


def template(kind: str) -> dict[str, Any]:
    tree: dict[str, Any] = json.loads((DEPLOY / "pools" / f"{kind}.json").read_text())
    return tree


def prefects_template(kind: str) -> dict[str, Any]:
    """As this version of Prefect ships it, for workers too that are not installed."""
    views = Path(prefect.__file__).parent / "server" / "api" / "collections_data" / "views"
    collections = json.loads((views / "aggregate-worker-metadata.json").read_text())
    (found,) = [
        worker["default_base_job_configuration"]
        for collection in collections.values()
        for worker in collection.values()
        if worker["type"] == kind
    ]
    return dict(found)


def filled(kind: str, **values: Any) -> Any:
    properties = template(kind)["variables"]["properties"]
    defaults = {name: part["default"] for name, part in properties.items() if "default" in part}
    return apply_values(template(kind)["job_configuration"], {**defaults, **values})


@pytest.mark.parametrize("kind", ["process", "docker", "kubernetes"])
def test_a_pool_offers_what_prefects_own_does_and_no_more_than_it_names(kind: str) -> None:
    ours, theirs = template(kind), prefects_template(kind)
    assert set(theirs["job_configuration"]) <= set(ours["job_configuration"])
    assert set(theirs["variables"]["properties"]) <= set(ours["variables"]["properties"])
    used = set(re.findall(r"\{\{ (\w+) \}\}", json.dumps(ours["job_configuration"])))
    assert used == set(ours["variables"]["properties"])
    env = filled(kind)["env"]
    assert env["PREFECT_LOGGING_EXTRA_LOGGERS"] == "core,tasks,flows"
    ours_too = {f"TIMELOOM_{name.upper()}" for name in Settings.model_fields}
    assert set(env) <= _get_valid_setting_names(PrefectSettings) | ours_too


def test_kubernetes_alone_hands_out_gpus() -> None:
    kinds = ("process", "docker", "kubernetes")
    limits = {kind: filled(kind)["env"].get("TIMELOOM_GPU_LIMIT") for kind in kinds}
    assert limits == {"process": None, "docker": None, "kubernetes": NO_LIMIT}


def test_the_process_worker_reads_its_pool() -> None:
    for spec in SPECS.values():
        read = ProcessJobConfiguration.from_template_and_values
        job = asyncio.run(read(template("process"), spec.work_pool.job_variables, client=object()))
        assert job.command is None  # the worker's own Python
        assert job.env["PREFECT_RUNNER_AUTO_INSTALL_DEPENDENCIES"] == "false"


def test_a_training_on_kubernetes_asks_for_a_gpu_and_generation_does_not() -> None:
    limits = {
        name: filled("kubernetes", **SPECS[name].work_pool.job_variables)["job_manifest"]["spec"]["template"][
            "spec"
        ]["containers"][0]["resources"]["limits"]
        for name in ("train", "generate")
    }
    assert limits["train"]["nvidia.com/gpu"] == 1
    assert limits["generate"]["nvidia.com/gpu"] == 0
    pod = filled("kubernetes")["job_manifest"]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True


def test_a_docker_pool_asks_for_gpus_as_dockers_api_wants_it() -> None:
    request = [{"driver": "nvidia", "count": 1, "capabilities": [["gpu"]]}]
    assert filled("docker")["container_create_kwargs"]["device_requests"] == []
    assert filled("docker", device_requests=request)["container_create_kwargs"]["device_requests"] == request


# Compose, image, Kubernetes.


def test_services_refer_to_what_is_there() -> None:
    services = compose()["services"]
    for name, service in services.items():
        for other, condition in service.get("depends_on", {}).items():
            assert other in services, name
            if condition["condition"] == "service_healthy":
                assert "healthcheck" in services[other], (
                    f"{name} waits for {other}, which never says it is well"
                )
            if condition["condition"] == "service_completed_successfully":
                assert services[other]["restart"] == "no", f"{name} waits for {other}, which never ends"
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            assert (DEPLOY / source).is_file() if source.startswith(".") else source in compose()["volumes"]
    assert set(compose("compose.gpu.yaml")["services"]) <= set(services)


def test_no_secret_is_written_down_and_the_example_names_every_variable() -> None:
    text = (DEPLOY / "compose.yaml").read_text()
    example = (DEPLOY / ".env.example").read_text()
    named = set(re.findall(r"^(\w+)=", example, re.MULTILINE))
    assert variables_in(text) == named
    for secret in ("POSTGRES_PASSWORD", "PREFECT_AUTH"):
        assert re.search(rf"^{secret}=$", example, re.MULTILINE)
        # Refused where it is missing, instead of an empty password.
        assert set(re.findall(rf"\$\{{{secret}(.)", text)) == {":"}
        assert set(re.findall(rf"\$\{{{secret}:(.)", text)) == {"?"}
    assert not re.search(r"://\w+:(?!\$)\w+@", text)


def test_compose_sets_variables_that_prefect_knows() -> None:
    redis = {f"PREFECT_REDIS_MESSAGING_{name.upper()}" for name in RedisMessagingSettings.model_fields}
    known = _get_valid_setting_names(PrefectSettings) | redis
    services = compose()["services"]
    set_there = {
        name
        for service in services.values()
        for name in service.get("environment", {})
        if name.startswith("PREFECT_")
    }
    assert len(set_there) > 8
    assert set_there <= known
    url = services["prefect"]["environment"]["PREFECT_SERVER_DATABASE_CONNECTION_URL"]
    assert url.startswith("postgresql+asyncpg://")
    assert services["worker"]["environment"]["PREFECT_API_URL"] == "http://prefect:4200/api"


def test_every_part_of_ours_runs_the_one_image_which_installs_the_tested_versions() -> None:
    foreign = {name for name, service in compose()["services"].items() if service["image"] != "timeloom:latest"}
    assert foreign == {"postgres", "redis"}
    recipe = (DEPLOY / "Dockerfile").read_text()
    assert "--constraint constraints.txt" in recipe
    assert recipe.index("USER 10001:10001") < recipe.index("ENTRYPOINT")
    for line in re.findall(r"^COPY (.+) \S+$", recipe, re.MULTILINE):
        assert all((PROJECT_ROOT / source).exists() for source in line.split())
    extras = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    asked = {extra for text in re.findall(r"EXTRAS[=:] ?([\w,]+)", recipe) for extra in text.split(",")}
    assert asked <= set(extras)
    pinned = (PROJECT_ROOT / "constraints.txt").read_text()
    assert f"prefect=={prefect.__version__}\n" in pinned
    assert "prefect-redis==" in pinned


def test_the_charts_values_name_this_prefect_and_no_secret() -> None:
    worker = yaml.safe_load((DEPLOY / "kubernetes" / "worker.yaml").read_text())
    server = yaml.safe_load((DEPLOY / "kubernetes" / "server.yaml").read_text())
    assert server["global"]["prefect"]["image"]["prefectTag"] == f"{prefect.__version__}-python3.11"
    assert worker["worker"]["image"]["prefectTag"] == f"{prefect.__version__}-python3.11-kubernetes"
    for entry in server["global"]["prefect"]["env"]:
        assert entry["name"] in _get_valid_setting_names(PrefectSettings)
    assert worker["worker"]["config"]["workPool"] == SPECS["train"].work_pool.name
    assert not re.search(r"(?i)password:\s*\S", yaml.safe_dump([worker, server]))
    names = [
        entry["metadata"]["name"]
        for entry in yaml.safe_load_all((DEPLOY / "kubernetes" / "lake.yaml").read_text())
    ]
    assert template("kubernetes")["variables"]["properties"]["lake_claim"]["default"] in names
