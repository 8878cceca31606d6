"""Read many damaged files of every kind, and count what becomes of them.

    python tests/studies/fuzz_files.py 100000 [FIRST]

Ends with 1 where an error has no name of ours, or a file takes more than five seconds.
"""

from __future__ import annotations

import faulthandler
import resource
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from fuzzing import run


def main() -> int:
    faulthandler.enable()
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    with tempfile.TemporaryDirectory() as folder:
        outcomes = run(Path(folder), n, first)
    for name, count in outcomes.found.most_common():
        print(f"{count:8,}  {name}")
    print(f"slowest {outcomes.slowest[0]:.2f} s: {outcomes.slowest[1]}")
    print(f"most memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024:,} MiB")
    for failure in outcomes.failures[:40]:
        print(failure)
    print(f"{len(outcomes.failures)} failures")
    return bool(outcomes.failures)


if __name__ == "__main__":
    sys.exit(main())
