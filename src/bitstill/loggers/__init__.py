"""TensorBoard and wandb. Loggers read a run's files; they influence no result."""
