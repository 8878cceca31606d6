"""Time of every reader on whatever repeats, at 1, 2 and 4 MiB: the largest ratio of neighbours.

python tests/studies/linear_readers.py. Ends with 1 where twice the text takes three times as long.
"""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from test_file_sizes import CASES, MIB, seconds

FLOOR = 0.05
"""Seconds of processor below which a time is the clock's."""


def main() -> int:
    worst, slow = 0.0, []
    for reader, head, piece in CASES:
        texts = [head + piece * int(size * MIB / len(piece)) for size in (1, 2, 4)]
        times = [min(seconds(reader, text) for _ in range(2)) for text in texts]
        ratio = max(more / max(less, FLOOR) for less, more in pairwise(times))
        worst = max(worst, ratio)
        shown = ", ".join(f"{t:.2f}" for t in times)
        print(
            f"{reader.__name__:12s} {head!r:60.60s} {piece!r:20.20s} {shown} s, ratio {ratio:.1f}"
        )
        if ratio >= 3:
            slow.append((reader, head, piece))
    print(f"{len(CASES)} cases, largest ratio {worst:.2f}, {len(slow)} of 3 or more")
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
