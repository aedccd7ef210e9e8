"""``python -m bitstill``."""

from bitstill.cli import main

main()
