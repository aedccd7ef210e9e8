"""Paired measurements of speed: ``bitstill bench``."""
