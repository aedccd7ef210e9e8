"""Trains one network: tasks, batches, evaluation, and the files of the run."""
