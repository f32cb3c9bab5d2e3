"""Errors as ``application/problem+json`` (RFC 9457): the envelope of every API that has none of its own,
and of the pod."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from chalicelib.foundation import errors

#: By code of the error: the HTTP status and the title, which is the same for every occurrence.
STATUSES = {
    errors.InvalidInput.code: (400, "Invalid input"),
    errors.Unauthenticated.code: (401, "Not authenticated"),
    errors.Forbidden.code: (403, "Not allowed"),
    errors.NotFound.code: (404, "Not found"),
    errors.Conflict.code: (409, "Conflict"),
    errors.PreconditionFailed.code: (412, "Precondition failed"),
    errors.TooLarge.code: (413, "Too large"),
    errors.IdempotencyMismatch.code: (422, "Idempotency-Key used before"),
    errors.LimitReached.code: (429, "Limit reached"),
    errors.Downstream.code: (502, "A service failed"),
    errors.DownstreamTimeout.code: (504, "A service did not answer"),
    errors.Unavailable.code: (503, "Not available"),
}
INTERNAL = (500, "Internal error")
RETRY_AFTER_S = 1  # where nobody takes a request at the moment

#: Of faults in one answer, and characters of each of their texts: Lambda answers with 6 MB at most.
MAX_TOLD = 1000


def problem(error: Exception) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Status, body and headers that tell a client of ``error``.

    Of an error that is none of ours, nothing is told but that it happened.
    """
    code = error.code if isinstance(error, errors.MillraceError) else "internal"
    status, title = STATUSES.get(code, INTERNAL)
    detail = (
        error.detail
        if isinstance(error, errors.MillraceError) and status != INTERNAL[0]
        else "Something went wrong on our side."
    )
    body: dict[str, Any] = {"type": f"urn:millrace:error:{code}", "title": title, "status": status, "detail": detail}
    headers = {}
    match error:
        case errors.InvalidInput(faults=faults):
            body["errors"] = told([{"path": fault.path, "message": fault.message} for fault in faults], path="")
            body["detail"] = f"{len(faults)} fault{'s' if len(faults) != 1 else ''}: {error}"[:1000]
        case errors.Conflict(errors=found) if found:
            body["errors"] = told(found, type="more")
        case errors.LimitReached(retry_after_s=seconds):
            headers["Retry-After"] = str(seconds)
        case errors.Unavailable():
            headers["Retry-After"] = str(RETRY_AFTER_S)
        case errors.Unauthenticated():
            headers["WWW-Authenticate"] = "ApiKey"
        case _:
            pass
    return status, body, headers


def told(faults: Sequence[Mapping[str, Any]], **of_the_rest: str) -> list[dict[str, Any]]:
    """As many faults as an answer holds; a last one says how many there are beyond, with ``of_the_rest`` beside."""
    shown = [
        {key: text[:MAX_TOLD] if isinstance(text, str) else text for key, text in fault.items()}
        for fault in faults[:MAX_TOLD]
    ]
    if len(faults) > MAX_TOLD:
        shown.append({**of_the_rest, "message": f"... and {len(faults) - MAX_TOLD} more"})
    return shown
