"""Great Expectations' Data Docs, for those who know them; our own report is the one to keep."""

from __future__ import annotations

from pathlib import Path

from core.catalog import DatasetConfig
from core.errors import StorageError
from core.quality.chunks import chunk_rows, read_chunks
from core.quality.rules import cell_rules
from core.quality.scan import chunk_of
from core.quality.suite import expectation_class
from core.quality.validate import plan_of, series_of
from core.sources.stored import StoredRows

_SITE = "timeloom"


def build_data_docs(dataset: DatasetConfig, rows: StoredRows, folder: Path) -> int:
    """Build the pages in `folder`; returns how many rows they show: the first chunk alone can be rendered.

    Names and cells are not escaped there, and the pages load scripts and styles from elsewhere.

    Raises:
        ConfigError: as `core.quality.validate`.
        StorageError: the snapshot cannot be read or the pages not be written.
    """
    import great_expectations as gx

    codes, count = series_of(dataset, rows)
    plan = plan_of(dataset, rows, codes if count > 1 else None)
    start, table = next(
        read_chunks(rows, None, chunk_rows(len(rows.schema.names))), (0, rows.schema.empty_table())
    )
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False, "metric_calculations": False}
    context.add_data_docs_site(
        site_name=_SITE,
        site_config={
            "class_name": "SiteBuilder",
            "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
            "store_backend": {
                "class_name": "TupleFilesystemStoreBackend",
                "base_directory": str(folder.resolve()),
            },
        },
    )
    suite = context.suites.add(gx.ExpectationSuite(name=dataset.name))
    for rule in cell_rules(plan):
        expectation = expectation_class(rule.expectation)
        suite.add_expectation(expectation(**rule.arguments, severity=rule.severity, notes=rule.name))
    asset = context.data_sources.add_pandas(dataset.name).add_dataframe_asset(dataset.name)
    batch = asset.add_batch_definition_whole_dataframe(dataset.name)
    definition = gx.ValidationDefinition(name=dataset.name, data=batch, suite=suite)
    checkpoint = gx.Checkpoint(
        name=dataset.name,
        validation_definitions=[context.validation_definitions.add(definition)],
        actions=[],
        result_format="BASIC",
    )
    frame = plan.frame(chunk_of(plan, start, table))
    try:
        context.checkpoints.add(checkpoint).run(batch_parameters={"dataframe": frame})
        context.build_data_docs(site_names=[_SITE])
    except OSError as error:
        raise StorageError(f"could not write {folder}: {error}") from error
    return len(table)
