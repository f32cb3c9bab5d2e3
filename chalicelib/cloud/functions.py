"""A Lambda function of ours, called and waited for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from chalicelib.foundation.errors import Downstream, DownstreamTimeout, TooLarge
from chalicelib.foundation.json_types import dumps

MAX_EVENT_BYTES = 6_000_000  # that Lambda takes with a synchronous call


class LambdaFunction:
    def __init__(self, client: Any, function: str) -> None:
        self._client = client
        self._function = function

    def call(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """What it answers. Raises ``TooLarge``, ``DownstreamTimeout`` and ``Downstream``, also where it failed."""
        from botocore.exceptions import BotoCoreError, ClientError, ReadTimeoutError

        text = dumps(event).encode()
        if len(text) > MAX_EVENT_BYTES:
            raise TooLarge
        try:
            response = self._client.invoke(FunctionName=self._function, Payload=text)
            answer = json.loads(response["Payload"].read())
        except ReadTimeoutError as error:
            raise DownstreamTimeout("The node did not end in time.") from error
        except (BotoCoreError, ClientError) as error:
            raise Downstream(f"Lambda: {error}"[:500]) from error
        if "FunctionError" in response:
            raise Downstream(f"The node runner failed: {answer.get('errorType', 'unknown')}")
        found: dict[str, Any] = answer
        return found
