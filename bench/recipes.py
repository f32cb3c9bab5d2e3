"""Makes ``bench/data/recipes.json.gz``: graphs of scientific workflows, by the recipes of WfCommons
(https://wfcommons.org), with fixed seeds.

Kept as data, as the package brings pandas and SciPy along. To make them anew::

    uv run --with wfcommons==1.6 --no-project python -m bench.recipes

A graph is ``{"name", "tasks", "edges": [[i, j], ...], "seconds": [...]}``: edges between numbered tasks, and how long
each took in the traces that the recipe was made from.
"""

from __future__ import annotations

import gzip
import json
import random
from functools import cache
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent / "data" / "recipes.json.gz"
SIZES = (20, 50, 100, 200, 500, 1000, 2000)
_SEED = 1
_RECIPES = ("Blast", "Bwa", "Cycles", "Epigenomics", "Genome", "Montage", "Rnaseq", "Seismology", "Soykb", "Srasearch")


@cache
def recipes() -> tuple[dict[str, Any], ...]:
    """Every graph, the small ones of each recipe first."""
    found: list[dict[str, Any]] = json.loads(gzip.decompress(DATA.read_bytes()))
    return tuple(found)


def _make() -> list[dict[str, Any]]:
    import numpy
    from wfcommons import WorkflowGenerator
    from wfcommons.wfchef import recipes as known

    graphs: dict[tuple[str, int], dict[str, Any]] = {}
    for name in _RECIPES:
        for size in SIZES:
            random.seed(_SEED)
            numpy.random.seed(_SEED)
            recipe = getattr(known, f"{name}Recipe")
            try:
                made = WorkflowGenerator(recipe.from_num_tasks(size)).build_workflow()
            except ValueError:  # fewer tasks than the recipe has kinds of them
                continue
            numbers = {task: index for index, task in enumerate(made.nodes)}
            graphs[name, len(numbers)] = {
                "name": f"{name.lower()}-{len(numbers)}",
                "tasks": len(numbers),
                "edges": sorted([numbers[source], numbers[target]] for source, target in made.edges),
                "seconds": [round(float(made.nodes[task]["task"].runtime), 1) for task in made.nodes],
            }
    return list(graphs.values())


if __name__ == "__main__":
    text = json.dumps(_make(), separators=(",", ":"))
    DATA.write_bytes(gzip.compress(text.encode(), mtime=0))
