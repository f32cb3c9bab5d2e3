"""S3 for nodes: objects that users name.

Workflows may keep objects of their own in the stage's data bucket, but what Millrace itself keeps there is closed to
them: plans, payloads and definitions belong to every organisation, and a node that could write one would decide what
the runs of others do. IAM cannot draw this line, for the role that runs nodes has to reach payloads itself.
"""

from __future__ import annotations

import posixpath
from typing import Any, NoReturn

from chalicelib.foundation.errors import Permanent, Retryable
from chalicelib.nodes.capabilities import StoredObject

MAX_OBJECT_BYTES = 100 * 1024 * 1024

#: Where Millrace keeps its own objects in the data bucket.
OWN_PREFIXES = ("plans/", "payloads/", "definitions/")

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
    def __init__(self, client: Any, own_bucket: str) -> None:
        """``own_bucket`` is the data bucket, of which nodes see only what workflows have put there."""
        self._client = client
        self._own_bucket = own_bucket

    def read(self, bucket: str, key: str) -> StoredObject:
        self._check(bucket, key)
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
        self._check(bucket, key)
        try:
            written = self._client.put_object(Bucket=bucket, Key=key, Body=body, ContentType=content_type)
        except Exception as error:
            _translate(error, bucket, key)
        return str(written["ETag"]).strip('"')

    def _check(self, bucket: str, key: str) -> None:
        if bucket == self._own_bucket and _resolved(key).startswith(OWN_PREFIXES):
            raise Permanent("AccessDenied", f"s3://{bucket}/{key} lies where Millrace keeps its own objects")


def _resolved(key: str) -> str:
    """The key as a path. To S3 it is mere text; what else speaks its protocol may read ``x/../plans/`` as a path."""
    return posixpath.normpath("/" + key.lstrip("/"))[1:]


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
