"""Bytes in S3, under keys made of their content: written twice is there once, and what was read once may be kept.

Many of them go when they reach an age, counted from when they were put last (``graph.retention``). So to put what is
there already is no waste: it makes it young again. Only what this very process has just put it does not put again.
"""

from __future__ import annotations

import hashlib
import threading
import time
from base64 import b64encode
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import IO, Any

from chalicelib.foundation.errors import Downstream, DownstreamTimeout
from chalicelib.foundation.spool import Spool

_READ_BYTES = 1024 * 1024  # of a file, at a time
_CACHE_BYTES = 64 * 1024 * 1024  # kept in a warm Lambda
_YOUNG_S = 3600.0  # within which a process does not put the same again; rules for ages count in days
_REMEMBERED = 10_000  # keys that a process has put
_DELETED_AT_ONCE = 1000  # what S3 lists in one answer, and deletes in one request


class Blobs:
    def __init__(self, client: Any, bucket: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._bucket = bucket
        self._monotonic = monotonic
        self._put_at: OrderedDict[str, float] = OrderedDict()
        self._cache: OrderedDict[str, bytes] = OrderedDict()
        self._cached = 0
        self._lock = threading.Lock()

    def put(self, prefix: str, body: bytes) -> str:
        """Stores ``body`` and returns its key: ``<prefix>/<sha256>``."""
        key = f"{prefix}/{hashlib.sha256(body).hexdigest()}"
        self.put_at(key, body)
        return key

    def put_spool(self, prefix: str, spool: Spool) -> str:
        """Stores what was put aside, as ``put`` does; never all of it in memory."""
        key = f"{prefix}/{spool.sha256.hex()}"
        self._write(key, spool.file, spool.sha256)
        return key

    def copy(self, key: str, prefix: str) -> str:
        """Stores a blob under another prefix too, unread, and returns its key there. Raises ``Downstream``."""
        target = f"{prefix}/{key.rpartition('/')[2]}"
        if target != key and not self._is_young(target):
            source = {"Bucket": self._bucket, "Key": key}
            try:
                self._client.copy_object(Bucket=self._bucket, Key=target, CopySource=source)
            except Exception as error:
                raise _translated(error) from error
            self._remember(target)
        return target

    def put_at(self, key: str, body: bytes) -> None:
        """Stores ``body`` under a key that nothing else will ever stand under."""
        if self._is_young(key):
            return
        self._write(key, body, hashlib.sha256(body).digest())
        self._keep(key, body)

    def make_young(self, key: str) -> None:
        """Counts the age of a blob from now on; one that is not there is left."""
        source = {"Bucket": self._bucket, "Key": key}
        try:
            # S3 copies an object onto itself only where something about it is said anew.
            self._client.copy_object(Bucket=self._bucket, Key=key, CopySource=source, MetadataDirective="REPLACE")
        except self._client.exceptions.ClientError as error:
            if error.response["Error"]["Code"] not in ("NoSuchKey", "404"):
                raise _translated(error) from error
        except Exception as error:
            raise _translated(error) from error

    def delete_some(self, prefix: str) -> bool:
        """Deletes blobs whose keys begin so, a bounded number. Whether that was all."""
        try:
            found = self._client.list_objects_v2(Bucket=self._bucket, Prefix=prefix, MaxKeys=_DELETED_AT_ONCE)
            if keys := [{"Key": item["Key"]} for item in found.get("Contents", ())]:
                answer = self._client.delete_objects(Bucket=self._bucket, Delete={"Objects": keys, "Quiet": True})
                if failed := answer.get("Errors"):
                    raise Downstream(f"S3 did not delete {len(failed)} objects: {failed[0].get('Code')}")
        except Downstream:
            raise
        except Exception as error:
            raise _translated(error) from error
        return not found["IsTruncated"]

    def get(self, key: str) -> bytes:
        """Raises ``Downstream`` where it is not there: nothing names a blob before it is stored."""
        known = self._known(key)
        if known is not None:
            return known
        body = self._read(key)
        self._keep(key, body)
        return body

    def get_part(self, key: str, start: int, end: int) -> bytes:
        """The bytes of a blob from ``start`` up to, not including, ``end``. Raises ``Downstream``."""
        whole = self._known(key)
        if whole is not None:
            return whole[start:end]
        name = f"{key} {start} {end}"
        if (known := self._known(name)) is not None:
            return known
        part = self._read(key, Range=f"bytes={start}-{end - 1}")
        self._keep(name, part)
        return part

    def stream(self, key: str) -> Iterator[bytes]:
        """A blob in chunks of at most a megabyte, of which nothing is kept. Raises ``Downstream``, midway too."""
        known = self._known(key)
        if known is not None:
            yield known
            return
        try:
            with closing(self._client.get_object(Bucket=self._bucket, Key=key)["Body"]) as body:
                yield from body.iter_chunks(_READ_BYTES)
        except Exception as error:
            raise _translated(error) from error

    def link(self, key: str, valid_s: int) -> str:
        """A URL by which anyone who holds it may read the blob for ``valid_s`` seconds."""
        url: str = self._client.generate_presigned_url(
            "get_object", Params={"Bucket": self._bucket, "Key": key}, ExpiresIn=valid_s
        )
        return url

    def _write(self, key: str, body: bytes | IO[bytes], sha256: bytes) -> None:
        try:
            # S3 compares the checksum with what it has received.
            self._client.put_object(Bucket=self._bucket, Key=key, Body=body, ChecksumSHA256=b64encode(sha256).decode())
        except Exception as error:
            raise _translated(error) from error
        self._remember(key)

    def _read(self, key: str, **options: str) -> bytes:
        try:
            body: bytes = self._client.get_object(Bucket=self._bucket, Key=key, **options)["Body"].read()
        except Exception as error:
            raise _translated(error) from error
        return body

    def _is_young(self, key: str) -> bool:
        with self._lock:
            put_at = self._put_at.get(key)
        return put_at is not None and self._monotonic() - put_at < _YOUNG_S

    def _remember(self, key: str) -> None:
        with self._lock:
            self._put_at[key] = self._monotonic()
            self._put_at.move_to_end(key)
            if len(self._put_at) > _REMEMBERED:
                self._put_at.popitem(last=False)

    def _known(self, key: str) -> bytes | None:
        with self._lock:
            if key in self._cache:
                self._cache.move_to_end(key)
            return self._cache.get(key)

    def _keep(self, key: str, body: bytes) -> None:
        with self._lock:
            if key in self._cache or len(body) > _CACHE_BYTES // 4:
                return
            self._cache[key] = body
            self._cached += len(body)
            while self._cached > _CACHE_BYTES:
                _, dropped = self._cache.popitem(last=False)
                self._cached -= len(dropped)


def _translated(error: Exception) -> Exception:
    from botocore.exceptions import BotoCoreError, ClientError, ConnectTimeoutError, ReadTimeoutError

    if isinstance(error, (ConnectTimeoutError, ReadTimeoutError)):
        return DownstreamTimeout("S3 did not answer in time.")
    if isinstance(error, (BotoCoreError, ClientError)):
        return Downstream(f"S3: {error}"[:500])
    return error
