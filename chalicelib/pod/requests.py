"""What a request asks for, and the text of an answer: the wire's side of ``services.deployed``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from chalicelib.foundation.errors import Fault, InvalidInput
from chalicelib.foundation.ids import is_id
from chalicelib.foundation.json_types import dumps, loads
from chalicelib.services.deployed import Asked, Told

MAX_BODY_BYTES = 5 * 1024 * 1024
MAX_WAIT_S = 300
MAX_LABEL = 64  # characters of a trigger's type
MAX_KEY = 255  # characters of an Idempotency-Key
_WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?(\d+)\"?\s*(?=$|[,;])", re.I)


def asked(body: bytes, headers: Mapping[str, str]) -> Asked:
    """Raises ``InvalidInput`` that lists every fault. Fields that are unknown are ignored."""
    try:
        value: Any = loads(body) if body.strip() else {}
    except ValueError as error:
        raise InvalidInput.at("", f"The body is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise InvalidInput.at("", "The body has to be a JSON object.")
    label, inputs, sync = value.get("trigger_type"), value.get("inputs"), value.get("sync")
    execution_id, key = headers.get("millrace-execution-id"), headers.get("idempotency-key")
    faults = []
    if label is not None and not (isinstance(label, str) and 0 < len(label) <= MAX_LABEL):
        faults.append(Fault("trigger_type", f"has to be a text of 1 to {MAX_LABEL} characters"))
    if inputs is not None and not isinstance(inputs, dict):
        faults.append(Fault("inputs", "has to be an object"))
    if sync is not None and not isinstance(sync, bool):
        faults.append(Fault("sync", "has to be true or false"))
    if execution_id is not None and not is_id(execution_id):
        faults.append(Fault("Millrace-Execution-Id", "is no id"))
    if key is not None and not 0 < len(key) <= MAX_KEY:
        faults.append(Fault("Idempotency-Key", f"has to have 1 to {MAX_KEY} characters"))
    if faults:
        raise InvalidInput(faults)
    return Asked(
        inputs={} if inputs is None else inputs,
        trigger_type=label or "api",
        sync=bool(sync),
        wait_s=wait_s(headers.get("prefer")),
        execution_id=execution_id,
        idempotency_key=key,
    )


def wait_s(prefer: str | None) -> float:
    """For how long a sync answer may take: ``Prefer: wait=10`` (RFC 7240), at most and as a rule five minutes."""
    found = _WAIT.search(prefer) if prefer else None
    return MAX_WAIT_S if found is None else min(int(found[1][:9]), MAX_WAIT_S)


def answer(told: Told, workflow_id: str, output: str | None = None, url: str | None = None) -> bytes:
    """The body of an answer. ``output`` is JSON text; ``url`` is where it lies, if it is too large for an answer."""
    status = "started" if told.status is None else str(told.status)
    parts = [f'{{"status":"{status}","execution_id":{dumps(told.execution_id)},"workflow_id":{dumps(workflow_id)}']
    parts.append(f',"output":{output or "{}"}')
    if url is not None:
        parts.append(f',"output_url":{dumps(url)}')
    if told.error is not None:
        parts.append(f',"error":{dumps(told.error)}')
    return ("".join(parts) + "}").encode()
