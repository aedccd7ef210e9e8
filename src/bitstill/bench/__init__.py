"""How fast: paired measurements, ``bitstill bench``."""
