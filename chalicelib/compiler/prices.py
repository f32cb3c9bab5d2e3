"""List prices of what runs are made of, and what follows from them: how long it pays to wait rather than to go on.

A node that is visited before all is decided that it waits for may wait in its function, or be sent to a gate. Nobody
knows how long it would have to wait. Whoever waits until that has cost as much as the gate would have, and goes there
then, never pays more than twice what somebody pays who knew (as with skis: rent them until you could have bought them).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from itertools import accumulate, repeat
from pathlib import Path
from typing import Any

NODE_GIGABYTES = 1.0  # of the node runner's memory, as the deployment sets it

#: What a node that is not ready takes beyond one that is: its state is left and entered again, with the gate between.
MISS_TRANSITIONS, MISS_INVOCATIONS = 2, 1

#: Seconds between two looks at what a node waits for: short at first, as most of it has ended at about the same time.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S, _GROWTH = 0.02, 0.1, 1.5


@cache
def prices() -> dict[str, Any]:
    """As ``prices.json`` has them, with the date of the list."""
    found: dict[str, Any] = json.loads((Path(__file__).parent / "prices.json").read_text())
    return found


def of(transitions: int, invocations: int, seconds: float, reads: int = 0) -> float:
    """In US dollars: state transitions, invocations of functions that ran for ``seconds``, and small items read."""
    listed = prices()
    return (
        transitions * float(listed["stateTransition"])
        + invocations * float(listed["lambdaRequest"])
        + seconds * NODE_GIGABYTES * float(listed["lambdaGigabyteSecond"])
        + reads * float(listed["dynamodbReadUnit"])
    )


def pauses(items: int = 1) -> Iterator[float]:
    """The seconds to wait before each look at ``items`` that are awaited (and at the run), as long as it pays."""
    limit = of(MISS_TRANSITIONS, MISS_INVOCATIONS, 0)
    growing = accumulate(repeat(_GROWTH), lambda pause, by: min(pause * by, _LONGEST_PAUSE_S), initial=_FIRST_PAUSE_S)
    waited = 0.0
    for looks, pause in enumerate(growing, start=1):
        waited += pause
        if of(0, 0, waited, looks * (items + 1)) > limit:
            return
        yield pause


@cache
def patience_s(items: int = 1) -> float:
    """How long it pays to wait for ``items``."""
    return sum(pauses(items))
