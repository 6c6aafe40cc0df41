"""The training loop: batches, checkpoints, and the child process it runs in (`python -m core.training`)."""
