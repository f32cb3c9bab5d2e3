"""Amazon Bedrock: the one call that we make of it, ``Converse``, which speaks to every model in the same words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from chalicelib.foundation.errors import Permanent, Retryable

#: What would fail again. Anything else that Bedrock says (throttled, overloaded, not ready) passes.
_FINAL_CODES = {
    "AccessDeniedException": "ModelAccessDenied",
    "ResourceNotFoundException": "ModelNotFound",
    "ValidationException": "ModelRequestInvalid",
}


class BedrockModels:
    def __init__(self, client: Callable[[], Any]) -> None:
        """``client`` gives the SDK's, which makes one try and gives up by its own read time-out; few processes ask."""
        self._client = client

    def converse(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """See ``Converse``."""
        from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

        try:
            answer: Mapping[str, Any] = self._client().converse(**request)
        except ClientError as error:
            name = _FINAL_CODES.get(error.response["Error"]["Code"])
            if name is not None:
                raise Permanent(name, str(error)[:1000]) from error
            raise Retryable("ModelUnavailable", str(error)[:1000]) from error
        except ParamValidationError as error:
            raise Permanent("ModelRequestInvalid", str(error)[:1000]) from error
        except BotoCoreError as error:
            raise Retryable("ModelUnavailable", str(error)[:1000]) from error
        return answer
