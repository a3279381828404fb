"""How long it takes to import finedata and to print its help, as whole processes.

python benchmarks/imports.py [--rounds 7]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path


def main() -> None:
    """Time each command in turn, round after round, and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    finedata = str(Path(sys.executable).parent / "finedata")
    commands = {
        "bare Python": [sys.executable, "-c", ""],
        "import finedata": [sys.executable, "-c", "import finedata"],
        "finedata --help": [finedata, "--help"],
        "finedata.open (polars, pyarrow)": [sys.executable, "-c", "import finedata; finedata.open"],
        "import finedata.convert.run": [sys.executable, "-c", "import finedata.convert.run"],
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(rounds + 1):
        for name, command in commands.items():
            begun = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            seconds[name].append(time.perf_counter() - begun)
    print("| what | min s | median s | max s |\n|---|---|---|---|")
    for name, values in seconds.items():
        counted = values[1:]  # the first round warms the caches
        middle = statistics.median(counted)
        print(f"| {name} | {min(counted):.3f} | **{middle:.3f}** | {max(counted):.3f} |")


if __name__ == "__main__":
    main()
