"""Bytes in S3, under keys made of their content: written twice is written once, and what was read once may be kept."""

from __future__ import annotations

import hashlib
import threading
from base64 import b64encode
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import closing
from typing import IO, Any

from chalicelib.foundation.errors import Downstream, DownstreamTimeout
from chalicelib.foundation.spool import Spool

_READ_BYTES = 1024 * 1024  # of a file, at a time
_CACHE_BYTES = 64 * 1024 * 1024  # kept in a warm Lambda


class Blobs:
    def __init__(self, client: Any, bucket: str) -> None:
        self._client = client
        self._bucket = bucket
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

    def put_at(self, key: str, body: bytes) -> None:
        """Stores ``body`` under a key that nothing else will ever stand under."""
        if self._known(key) is not None:
            return
        self._write(key, body, hashlib.sha256(body).digest())
        self._keep(key, body)

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

    def _read(self, key: str, **options: str) -> bytes:
        try:
            body: bytes = self._client.get_object(Bucket=self._bucket, Key=key, **options)["Body"].read()
        except Exception as error:
            raise _translated(error) from error
        return body

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
