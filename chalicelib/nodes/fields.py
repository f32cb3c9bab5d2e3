"""Fields of configs that several types have."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from chalicelib.graph.events import MAX_EVENT_TYPE_CHARS

MAX_WAIT_S = 365 * 24 * 3600  # an execution of a state machine lasts a year at most

WaitSeconds = Annotated[float, Field(ge=0, le=MAX_WAIT_S, allow_inf_nan=False)]

#: A type of events, or a pattern with ``*``.
EventPattern = Annotated[str, Field(min_length=1, max_length=MAX_EVENT_TYPE_CHARS, pattern=r"^[^\x00-\x1f\x7f]+$")]
