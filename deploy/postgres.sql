-- Both services keep a table `alembic_version`, so each has a database of its own.
create database prefect;
create database mlflow;
