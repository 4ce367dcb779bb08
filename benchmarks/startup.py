"""Start-up: `import vqa_explain` and `vqa-explain --help`, against an empty interpreter in the same
run.

python benchmarks/startup.py
"""

import statistics
import subprocess
import sys
import time

REPEATS = 15
COMMANDS = {
    "empty interpreter": [sys.executable, "-c", ""],
    "import vqa_explain": [sys.executable, "-c", "import vqa_explain"],
    "vqa-explain --help": [sys.executable, "-m", "vqa_explain.shell.app", "--help"],
}


def main() -> None:
    """Prints the median of alternating repeats, in seconds."""
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(REPEATS):
        for name, command in COMMANDS.items():
            began = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            seconds[name].append(time.perf_counter() - began)
    for name, values in seconds.items():
        print(f"{name:20s} {statistics.median(values):.3f} s (fastest {min(values):.3f})")


if __name__ == "__main__":
    main()
