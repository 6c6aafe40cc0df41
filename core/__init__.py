"""The science of Timeloom: preparing series, generators, training, evaluation.

Nothing here knows of Prefect or MLflow. What trains and scores (`networks`, `generators`, `training`,
`evaluation`, `prepare.series`) needs torch, numpy, pandas, pyarrow and scikit-learn alone, so that a GPU
machine without the rest can run it.
"""

__version__ = "0.1.0"
