"""The peers' side of three objectives, run inside an environment that has them. Reads the file of
the points, and for each line of standard input answers with one timed round of each, as JSON."""

import json
import sys
import time
from importlib.metadata import version


def main(file: str) -> None:
    import moocore
    import numpy as np
    import paretoset

    points = np.load(file)
    peers = {
        "moocore": lambda: moocore.is_nondominated(points, keep_weakly=True),
        "paretoset": lambda: paretoset.paretoset(points, sense=["min"] * 3, distinct=False),
    }
    print(json.dumps({name: version(name) for name in peers}), flush=True)
    for _ in sys.stdin:
        told = {}
        for name, kept in peers.items():
            begin = time.perf_counter()
            found = kept()
            told[name] = [time.perf_counter() - begin, int(found.sum())]
        print(json.dumps(told), flush=True)


main(sys.argv[1])
