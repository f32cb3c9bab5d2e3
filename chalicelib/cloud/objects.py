"""S3 for nodes: objects that users name."""

from __future__ import annotations

from typing import Any, NoReturn

from chalicelib.foundation.errors import Permanent, Retryable
from chalicelib.nodes.capabilities import StoredObject

MAX_OBJECT_BYTES = 100 * 1024 * 1024

_FINAL_CODES = {
    "NoSuchBucket": "NoSuchBucket",
    "NoSuchKey": "NoSuchKey",
    "404": "NoSuchKey",
    "AccessDenied": "AccessDenied",
    "403": "AccessDenied",
    "InvalidBucketName": "InvalidBucketName",
    "PermanentRedirect": "WrongRegion",
}


class S3Objects:
    def __init__(self, client: Any) -> None:
        self._client = client

    def read(self, bucket: str, key: str) -> StoredObject:
        try:
            found = self._client.get_object(Bucket=bucket, Key=key)
            if found["ContentLength"] > MAX_OBJECT_BYTES:
                raise Permanent("ObjectTooLarge", f"s3://{bucket}/{key} has more than {MAX_OBJECT_BYTES} bytes")
            return StoredObject(found["Body"].read(), found.get("ContentType", ""))
        except Permanent:
            raise
        except Exception as error:
            _translate(error, bucket, key)

    def write(self, bucket: str, key: str, body: bytes, content_type: str) -> str:
        try:
            written = self._client.put_object(Bucket=bucket, Key=key, Body=body, ContentType=content_type)
        except Exception as error:
            _translate(error, bucket, key)
        return str(written["ETag"]).strip('"')


def _translate(error: Exception, bucket: str, key: str) -> NoReturn:
    from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

    if isinstance(error, ClientError):
        code = error.response["Error"]["Code"]
        if code in _FINAL_CODES:
            raise Permanent(_FINAL_CODES[code], f"s3://{bucket}/{key}: {error}"[:500]) from error
        raise Retryable("S3Error", f"s3://{bucket}/{key}: {error}"[:500]) from error
    if isinstance(error, ParamValidationError):
        raise Permanent("InvalidBucketName", f"s3://{bucket}/{key}: {error}"[:500]) from error
    if isinstance(error, BotoCoreError):
        raise Retryable("S3Error", f"s3://{bucket}/{key}: {error}"[:500]) from error
    raise error
