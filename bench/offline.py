"""The model alone, in a process of its own: what its scores cost without Kafka.

python -m bench.offline MODEL SECONDS
"""

from __future__ import annotations

import json
import sys
import time

from models import open_model
from stream.publishing import generate

SIZES = (64, 128, 256, 512)


def main() -> None:
    """Print claims a second at each batch size, over features that are ready."""
    name, seconds = sys.argv[1], float(sys.argv[2])
    model = open_model(name, threads=1)
    claims = next(iter(generate(2_000, 1)))
    tensors = model.features.encode(claims)
    found: dict[int, float] = {}
    for size in SIZES:
        batches = [{k: v[i : i + size] for k, v in tensors.items()} for i in range(0, 2_000 - size + 1, size)]
        scored, started = 0, time.perf_counter()
        while time.perf_counter() - started < seconds / len(SIZES):
            for batch in batches:
                model.score(batch)
                scored += size
        found[size] = scored / (time.perf_counter() - started)
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
