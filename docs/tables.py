"""Writes what is read off the code: tables into README.md and the guides, and the facts that the
shell lists.

    python docs/tables.py           # writes them
    python docs/tables.py --check   # exit code 1 where one is out of date

A table stands between `<!-- table: NAME -->` and `<!-- end -->`.
"""

import re
import subprocess
import sys
from collections import Counter
from itertools import groupby
from pathlib import Path

from vqa_explain.methods.describing import describe_methods
from vqa_explain.metrics.describing import describe_metrics
from vqa_explain.models.verdicts import tried_version, verdicts
from vqa_explain.shell.facts import PATH as FACTS
from vqa_explain.shell.facts import describe_models, stated
from vqa_explain.units import UNITS

ROOT = Path(__file__).resolve().parent.parent
FILES = ("README.md", "docs/methods_and_metrics.md", "docs/hostile.md", "docs/architectures.md")


def markdown(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
    )


def first_sentence(text: str) -> str:
    return re.split(r"(?<=[^0-9A-Z])\. |:\s*$", " ".join(text.split()))[0].rstrip(".")


def methods() -> str:
    """Every method: what its values are, their unit and their error."""
    rows = [
        [f"`{m['name']}`", first_sentence(m["about"]), m["unit"], m["error"]]
        for m in describe_methods(None)
    ]
    return markdown(["method", "what a value is", "its unit", "its error"], rows)


def units() -> str:
    """Every unit: what a value is, what may be said of it, and the methods that have it."""
    found = []
    for unit in UNITS.values():
        names = [f"`{m['name']}`" for m in describe_methods(None) if m["unit"] == unit.name]
        facts = [unit.adds_up, unit.signed, unit.shared]
        said = ["yes" if fact else "no" for fact in facts]
        text = unit.text.replace("{score}", "the score")
        found.append([unit.name, text, *said, ", ".join(names) or "–"])
    facts_asked = ["a change of the score", "below zero too", "words and regions comparable"]
    return markdown(["unit", "what a value is", *facts_asked, "methods"], found)


def methods_of_models() -> str:
    """Every method on every family."""
    families = describe_models()["families"]
    names = [m["name"] for m in describe_methods(None)]
    rows = [
        [f"`{n}`", *("yes" if n in f["works"] else "–" for f in families.values())] for n in names
    ]
    notes = [
        f"- `{name}`: {family['note']}." for name, family in families.items() if family["note"]
    ]
    return "\n".join([markdown(["method", *(f"`{name}`" for name in families)], rows), "", *notes])


def metrics() -> str:
    """Every metric: what it judges, what it says, and which way is better."""
    arrows = {"higher": "↑", "lower": "↓", "neither": ""}
    rows = [
        [
            f"`{m['name']}`",
            m["judges"],
            first_sentence(m["about"]),
            arrows[m["better"]],
            m["range"],
            m["source"],
        ]
        for m in describe_metrics(None)
    ]
    return markdown(["metric", "judges", "what it says", "better", "range", "source"], rows)


def hostile() -> str:
    """How many cases of each kind the hostile suite has, as pytest collects them."""
    run = [sys.executable, "-m", "pytest", "--collect-only", "-o", "addopts=-qq", "tests/hostile"]
    listed = subprocess.run(
        run, cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    kinds = {
        m[1]: int(m[2])
        for line in listed
        if (m := re.match(r"tests/hostile/test_(\w+)\.py: (\d+)", line))
    }
    rows = [[kind, f"{count:,}"] for kind, count in sorted(kinds.items())]
    return markdown(["what is hostile", "cases"], [*rows, ["all", f"{sum(kinds.values()):,}"]])


def architectures() -> str:
    """Every architecture of transformers, task by task."""
    parts = [f"Tried with transformers {tried_version()}."]
    for task, rows in groupby(verdicts(), key=lambda one: one.task):
        listed = list(rows)
        counts = Counter(one.verdict for one in listed)
        said = ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common())
        lines = [[f"`{one.name}`", f"`{one.network}`", one.verdict, one.because] for one in listed]
        table = markdown(["architecture", "class", "verdict", "because"], lines)
        parts += [f"## {task}", f"{len(listed)} architectures: {said}.", table]
    return "\n\n".join(parts)


TABLES = {
    "architectures": architectures,
    "hostile": hostile,
    "methods": methods,
    "units": units,
    "methods of models": methods_of_models,
    "metrics": metrics,
}


def filled(text: str) -> str:
    """A page with its tables as they are now."""

    def table(match: re.Match[str]) -> str:
        return f"<!-- table: {match[1]} -->\n{TABLES[match[1]]()}\n<!-- end -->"

    return re.sub(r"<!-- table: ([\w ]+) -->\n.*?<!-- end -->", table, text, flags=re.DOTALL)


def main() -> None:
    stale, only_check = [], "--check" in sys.argv
    facts = FACTS.read_text(encoding="utf-8") if FACTS.exists() else ""
    texts = {ROOT / name: (ROOT / name).read_text(encoding="utf-8") for name in FILES}
    changes = [(path, text, filled(text)) for path, text in texts.items()]
    for path, text, new in [(FACTS, facts, stated()), *changes]:
        if new != text:
            stale.append(path.name)
            if not only_check:
                path.write_text(new, encoding="utf-8")
    if only_check and stale:
        sys.exit(f"out of date: {', '.join(stale)}; run: python docs/tables.py")


if __name__ == "__main__":
    main()
