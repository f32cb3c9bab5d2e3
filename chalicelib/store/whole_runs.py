"""Runs that are recorded whole: their steps, as one text in the item of the execution.

A run that a process has run in one burst is there all at once or not at all, so nothing is gained by an item for each
of its steps. Those stand in the attribute ``steps`` of the execution as compact JSON: an array, in the order in which
they were given, of objects with the attributes of a step's item (``execution_items``), but for these:

- ``path`` is left out where it is "", ``since`` where it is 1.
- ``attempts`` are left out where there was one, of round 1, on which no function's time was spent, which did not fail,
  and which began and ended with the step.
- An output that does not lie in S3 is not in ``output``: it is the last attribute, ``value``, as JSON and not as a text
  that holds JSON. It is put in as it stands; whoever reads it gets the text of its value, as ``dumps`` writes it, which
  is how outputs are written.

Pods write this text by themselves too: the form is not to be changed here alone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from chalicelib.foundation.json_types import dumps
from chalicelib.graph.executions import Attempt, Payload, StepRecord
from chalicelib.store.execution_items import step_attributes, step_of
from chalicelib.store.table import TRANSACTION_ITEMS

#: What the steps of a run take at most in its item, in bytes of UTF-8. A list reads a hundred executions by one
#: BatchGetItem, whose answer has 16 MB at most: 160 KB for each. Beside the steps one may hold three times 32 KB (what
#: it was started with, outputs that were given, what it put out) and a few KB more: 135 KB in all, so a list stays one
#: call. It leaves an item far below the 400 KB that DynamoDB takes, and little is lost: what is written is paid for by
#: the KB, so of large steps it does not matter in how many items they stand.
EMBEDDED_BYTES = 32_000
#: And how many they are at most: whoever takes the run up again makes an item of each, in one transaction with the
#: execution.
EMBEDDED_STEPS = TRANSACTION_ITEMS - 1


def embedded(records: Sequence[StepRecord]) -> str | None:
    """The text of steps that go into the item of their run; None where they are too many, too large or within loops,
    and each has to be an item.
    """
    if len(records) > EMBEDDED_STEPS or any(record.path for record in records):
        return None
    if sum(len(record.output.text or "") for record in records if record.output) > EMBEDDED_BYTES:
        return None  # without putting together megabytes first
    text = text_of(records)
    return text if is_room_for(0, [text]) else None


def is_room_for(size: int, texts: Sequence[str]) -> bool:
    """Whether these texts and ``size`` bytes are few enough to go into the item of a run."""
    chars = size + sum(map(len, texts))
    return chars <= EMBEDDED_BYTES // 4 or size + sum(len(text.encode()) for text in texts) <= EMBEDDED_BYTES


def text_of(records: Sequence[StepRecord]) -> str:
    """Steps as JSON text."""
    return f"[{','.join(map(_text, records))}]"


def records_of(text: str) -> list[StepRecord]:
    """The steps that ``text_of`` has written, in their order."""
    # Not ``json_types.loads``, which makes floats of large numbers: outputs are to come back as they were.
    return [_record(attributes) for attributes in json.loads(text)]


def _text(record: StepRecord) -> str:
    attributes = step_attributes(record)
    attributes["path"] = record.path or None
    attributes["since"] = None if record.since == 1 else record.since
    if _was_one_attempt(record):
        attributes["attempts"] = None
    value = _text_here(record.output)
    if value is not None:
        attributes["output"] = None
    text = dumps({name: attribute for name, attribute in attributes.items() if attribute is not None})
    return text if value is None else f'{text[:-1]},"value":{value}}}'


def _record(attributes: dict[str, Any]) -> StepRecord:
    item = {"path": "", "since": 1, **attributes}
    if "attempts" not in attributes:
        ended = attributes.get("finishedAt")
        item["attempts"] = [{"startedAt": attributes["startedAt"], "finishedAt": ended, "round": 1, "ms": 0}]
    if "value" in attributes:
        item["output"] = {"text": dumps(attributes["value"])}
    return step_of(item)


def _was_one_attempt(record: StepRecord) -> bool:
    """Whether there was one attempt, of which nothing is known but what is known of the step."""
    began = record.started_at
    return began is not None and record.attempts == (Attempt(began, record.finished_at),)


def _text_here(payload: Payload | None) -> str | None:
    """The JSON text of a value that does not lie elsewhere."""
    return None if payload is None or payload.key is not None else payload.text
