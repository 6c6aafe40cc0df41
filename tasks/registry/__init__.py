"""MLflow's model registry: registering a generator, choosing the champion, finding a model by name."""
