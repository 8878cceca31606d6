"""``pyromix`` and ``python -m pyromix``: the command line, also while it is being imported."""

import sys

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


def main() -> None:
    """Run the command line; an interruption ends it without a traceback from the first moment."""
    try:
        # Seconds on a cold disk.
        from pyromix.cli import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
