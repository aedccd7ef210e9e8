"""From what Hydra composes to a checked configuration; limits on Hydra's own settings."""
