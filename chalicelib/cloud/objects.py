"""S3 for nodes: objects that users name.

Workflows may keep objects of their own in the stage's data bucket, but what Millrace itself keeps there is closed to
them: plans, payloads and definitions belong to every organisation, and a node that could write one would decide what
the runs of others do. IAM cannot draw this line, for the role that runs nodes has to reach payloads itself.
"""

from __future__ import annotations

import posixpath
from base64 import b64encode
from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import Any, NoReturn

from chalicelib.foundation.errors import Permanent, Retryable
from chalicelib.foundation.spool import spooled
from chalicelib.nodes.capabilities import StoredObject, WrittenObject

MAX_OBJECT_BYTES = 100 * 1024 * 1024
_CHUNK_BYTES = 1024 * 1024

#: Where Millrace keeps its own objects in the data bucket.
OWN_PREFIXES = ("plans/", "payloads/", "definitions/", "inbound/")

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
            return StoredObject(_chunks(found["Body"], bucket, key), found.get("ContentType", ""))
        except Permanent:
            raise
        except Exception as error:
            _translate(error, bucket, key)

    def write(self, bucket: str, key: str, body: Iterable[bytes], content_type: str) -> WrittenObject:
        self._check(bucket, key)
        with spooled(body) as spool:  # S3 is told the length first
            try:
                written = self._client.put_object(
                    Bucket=bucket,
                    Key=key,
                    Body=spool.file,
                    ContentType=content_type,
                    ChecksumSHA256=b64encode(spool.sha256).decode(),
                )
            except Exception as error:
                _translate(error, bucket, key)
            return WrittenObject(spool.size, str(written["ETag"]).strip('"'))

    def _check(self, bucket: str, key: str) -> None:
        if bucket == self._own_bucket and _resolved(key).startswith(OWN_PREFIXES):
            raise Permanent("AccessDenied", f"s3://{bucket}/{key} lies where Millrace keeps its own objects")


def _chunks(body: Any, bucket: str, key: str) -> Iterator[bytes]:
    try:
        with closing(body):
            yield from body.iter_chunks(_CHUNK_BYTES)
    except Exception as error:
        _translate(error, bucket, key)


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
