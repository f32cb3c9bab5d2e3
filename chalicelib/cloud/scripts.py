"""The Lambda that runs user code: called, and its answer told as a value or an error."""

from __future__ import annotations

import json
from typing import Any

from chalicelib.foundation.errors import Permanent, Retryable
from chalicelib.foundation.json_types import Json, dumps

#: Lambda takes six million bytes of a synchronous call; the code and its envelope need some of them.
MAX_EVENT_BYTES = 5_500_000


class LambdaScripts:
    def __init__(self, client: Any, function: str) -> None:
        self._client = client
        self._function = function

    def run(self, code: str, data: Json, timeout_s: float) -> Json:
        event = dumps({"code": code, "data": data, "timeoutSeconds": timeout_s}).encode()
        if len(event) > MAX_EVENT_BYTES:
            raise Permanent("ScriptInputTooLarge", f"code and input are {len(event)} bytes, {MAX_EVENT_BYTES} at most")
        answer = self._invoke(event)
        if answer["ok"]:
            output: Json = answer["output"]
            return output
        error = answer["error"]
        line = f" (line {error['line']})" if error.get("line") else ""
        raise Permanent(error["name"], f"{error['message']}{line}")

    def _invoke(self, event: bytes) -> dict[str, Any]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            response = self._client.invoke(FunctionName=self._function, Payload=event)
            body = json.loads(response["Payload"].read())
        except (ClientError, BotoCoreError) as error:
            raise Retryable("SandboxUnavailable", str(error)[:500]) from error
        if "FunctionError" in response:
            raise Retryable("SandboxFailed", str(body)[:500])
        answer: dict[str, Any] = body
        return answer
