"""Call every public name with absurd arguments, and count what becomes of them.

    python tests/studies/fuzz_arguments.py [PATTERN OF NAMES] [--accepted] [--light]

Ends with 1 where an error has no name of ours, or a call computes for more than five seconds.
"""

from __future__ import annotations

import faulthandler
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from argument_fuzzing import by_place, run


def main() -> int:
    faulthandler.enable()
    words = [word for word in sys.argv[1:] if not word.startswith("--")]
    with tempfile.TemporaryDirectory() as folder:
        only = words[0] if words else ""
        outcomes = run(Path(folder), only=only, light="--light" in sys.argv)
    print(f"{outcomes.found.total():,} calls ended as they should:")
    for name, n in outcomes.found.most_common():
        print(f"{n:8,} {name}")
    print(f"slowest: {outcomes.slowest[0]:.1f} s, {outcomes.slowest[1]}")
    if "--accepted" in sys.argv:
        print("\n".join(outcomes.accepted))
    print(f"{len(outcomes.failures):,} did not:")
    print("\n".join(by_place(outcomes.failures)))
    return 1 if outcomes.failures else 0


if __name__ == "__main__":
    sys.exit(main())
