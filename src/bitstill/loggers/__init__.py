"""The loggers beside ``metrics.csv``: TensorBoard and wandb. They receive, and decide nothing."""
