"""Runs the notebooks from a clean kernel and keeps their outputs: `python notebooks/run.py [NAMES…]`."""

import re
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent
SECONDS = 600  # for one cell


def executed(path: Path) -> nbformat.NotebookNode:
    """The notebook with the outputs of a clean kernel; widgets leave their picture, not their state."""
    book = nbformat.read(path, as_version=4)
    NotebookClient(book, timeout=SECONDS, kernel_name="python3", store_widget_state=False).execute()
    book.metadata.pop("widgets", None)
    for cell in (cell for cell in book.cells if cell.cell_type == "code"):
        cell.metadata.pop("execution", None)
        cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
        for output in cell.outputs:
            output.get("data", {}).pop("application/vnd.jupyter.widget-view+json", None)
            for kind, text in output.get(
                "data", {}
            ).items():  # addresses in memory change with every run
                if kind.startswith("text/"):
                    output["data"][kind] = re.sub(r" at 0x[0-9a-f]+", "", text)
    return book


if __name__ == "__main__":
    for path in sorted(HERE.glob("*.ipynb")):
        if len(sys.argv) == 1 or path.stem in sys.argv[1:]:
            nbformat.write(executed(path), path)
            print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")
