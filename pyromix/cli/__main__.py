"""``python -m pyromix.cli``."""

from pyromix.cli import main

main()
