"""From what Hydra composes to a checked configuration, and what of Hydra is let in."""
