"""``python -m regenerator``."""

from regenerator.cli import main

main()
