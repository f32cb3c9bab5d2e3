"""What API Gateway answers where it refuses a request itself, before any code of ours runs.

The same shape as everywhere else: ``application/problem+json`` with ``type``, ``title``, ``status`` and ``detail``,
and the request's id in ``X-Request-Id``. A body template cannot know the status, so every response type is listed
with its own. Two statuses are changed: a path or method that does not exist is 404 (API Gateway says 403, "Missing
Authentication Token"), and a function that crashed is 502 (a 500 would say that the fault is in the request's own
handling; 504 stays for slowness). Types and default statuses:
https://docs.aws.amazon.com/apigateway/latest/developerguide/supported-gateway-response-types.html
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any

#: type of gateway response -> status, detail
_RESPONSES: dict[str, tuple[HTTPStatus, str]] = {
    "ACCESS_DENIED": (HTTPStatus.FORBIDDEN, "The caller may not make this request."),
    "API_CONFIGURATION_ERROR": (HTTPStatus.BAD_GATEWAY, "The gateway could not pass the request on."),
    "AUTHORIZER_CONFIGURATION_ERROR": (HTTPStatus.BAD_GATEWAY, "The caller could not be identified."),
    "AUTHORIZER_FAILURE": (HTTPStatus.BAD_GATEWAY, "The caller could not be identified."),
    "BAD_REQUEST_BODY": (HTTPStatus.BAD_REQUEST, "The body of the request is not valid."),
    "BAD_REQUEST_PARAMETERS": (HTTPStatus.BAD_REQUEST, "The parameters of the request are not valid."),
    "DEFAULT_4XX": (HTTPStatus.BAD_REQUEST, "The gateway does not take this request."),
    "DEFAULT_5XX": (HTTPStatus.BAD_GATEWAY, "The service did not give a valid answer."),
    "EXPIRED_TOKEN": (HTTPStatus.FORBIDDEN, "The credentials of the request have expired."),
    "INTEGRATION_FAILURE": (HTTPStatus.BAD_GATEWAY, "The service did not give a valid answer."),
    "INTEGRATION_TIMEOUT": (HTTPStatus.GATEWAY_TIMEOUT, "The service did not answer in time."),
    "INVALID_API_KEY": (HTTPStatus.FORBIDDEN, "The caller may not make this request."),
    "INVALID_SIGNATURE": (HTTPStatus.FORBIDDEN, "The signature of the request is not valid."),
    "MISSING_AUTHENTICATION_TOKEN": (HTTPStatus.NOT_FOUND, "There is no such path, or it does not take this method."),
    "QUOTA_EXCEEDED": (HTTPStatus.TOO_MANY_REQUESTS, "The quota of requests is used up."),
    "REQUEST_TOO_LARGE": (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The body of the request is too large."),
    "RESOURCE_NOT_FOUND": (HTTPStatus.NOT_FOUND, "There is no such path."),
    "THROTTLED": (HTTPStatus.TOO_MANY_REQUESTS, "Too many requests at once; try again."),
    "UNAUTHORIZED": (HTTPStatus.UNAUTHORIZED, "The caller is not known."),
    "UNSUPPORTED_MEDIA_TYPE": (HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "The media type of the body is not supported."),
    "WAF_FILTERED": (HTTPStatus.FORBIDDEN, "The request was filtered out."),
}


def gateway_responses() -> dict[str, Any]:
    """All of them, as the property ``GatewayResponses`` of ``AWS::Serverless::Api``."""
    return {kind: _response(status, detail) for kind, (status, detail) in _RESPONSES.items()}


def _response(status: HTTPStatus, detail: str) -> dict[str, Any]:
    headers = {"X-Request-Id": "context.requestId", "Content-Type": "'application/problem+json'"}
    if status is HTTPStatus.TOO_MANY_REQUESTS:
        headers["Retry-After"] = "'1'"
    body = {"type": "about:blank", "title": _title(status), "status": int(status), "detail": detail}
    return {
        "StatusCode": str(int(status)),
        "ResponseParameters": {"Headers": headers},
        # The one template that there is applies to every request, whatever it accepts.
        "ResponseTemplates": {"application/json": json.dumps(body)},
    }


def _title(status: HTTPStatus) -> str:
    # Python 3.13 renamed this phrase; what we publish does not depend on the interpreter.
    return "Content Too Large" if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE else status.phrase
