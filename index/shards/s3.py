"""Object storage that speaks S3: the only file that imports botocore.

Who asks, and where, is said by the environment (AWS_ACCESS_KEY_ID and its like, AWS_ENDPOINT_URL), never by a URL.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, NamedTuple, cast

from index.shards.errors import PassingError, ShardError
from vsearch.distribution import install_hint
from vsearch.errors import VsearchError

SCHEME = "s3://"
_DELETED = 1_000  # objects, the most that one request may delete
_KEYS = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_ENDPOINT_URL, if it is not Amazon's)"
_AWAY = "look whether AWS_ENDPOINT_URL is right and the network leads there, then run the same again"
_ELSEWHERE = "keep the markers elsewhere: `markers=place`"


class Object(NamedTuple):
    """An object as a listing tells of it; `tag` changes with its content."""

    url: str
    size: int
    mtime_ns: int
    tag: str


def listed(url: str) -> Iterator[Object]:
    """Yield every object whose URL begins with `url`. Raises VsearchError if the bucket cannot be listed."""
    bucket, prefix = split(url)
    with _translated(url, "list"):
        for page in _client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            for found in page.get("Contents", ()):
                changed = int(found["LastModified"].timestamp()) * 1_000_000_000  # whole seconds, as S3 keeps them
                yield Object(f"{SCHEME}{bucket}/{found['Key']}", found["Size"], changed, found.get("ETag", ""))


@contextmanager
def opened(url: str) -> Iterator[BinaryIO]:
    """Open an object to be read once, from its beginning; whatever fails meanwhile is translated.

    Raises ShardError if it is not there, PassingError if the storage does not answer.
    """
    bucket, key = split(url)
    with _translated(url, "read"):
        body = _client().get_object(Bucket=bucket, Key=key)["Body"]
        try:
            yield cast(BinaryIO, body)
        finally:
            body.close()


def read(url: str) -> bytes:
    """Return the content of an object. Raises as `opened` does."""
    with opened(url) as body:
        return body.read()


def put(url: str, data: bytes) -> None:
    """Write an object, in place of one that is there."""
    bucket, key = split(url)
    with _translated(url, "write"):
        _client().put_object(Bucket=bucket, Key=key, Body=data)


def put_new(url: str, data: bytes) -> bool:
    """Write an object only if none is there, whoever else tries; return whether it was written.

    Raises VsearchError if the storage knows no such condition (`If-None-Match: *`).
    """
    from botocore.exceptions import ClientError

    bucket, key = split(url)
    with _translated(url, "write"):
        try:
            _client().put_object(Bucket=bucket, Key=key, Body=data, IfNoneMatch="*")
        except ClientError as error:
            code, status = _told(error)
            if status == 412 or code == "PreconditionFailed":
                return False
            if status == 501 or code == "NotImplemented":
                raise VsearchError(f"{url}: this S3 cannot write an object only once", _ELSEWHERE) from None
            raise
    return True


def delete(urls: Iterable[str]) -> None:
    """Delete objects of one bucket; those that are not there are no error."""
    places = [split(url) for url in urls]
    for start in range(0, len(places), _DELETED):
        part = places[start : start + _DELETED]
        with _translated(f"{SCHEME}{part[0][0]}/{part[0][1]}", "delete"):
            keys = [{"Key": key} for _, key in part]
            _client().delete_objects(Bucket=part[0][0], Delete={"Objects": keys, "Quiet": True})


def split(url: str) -> tuple[str, str]:
    """Return bucket and key of `s3://bucket/key`. Raises VsearchError if it names no bucket."""
    bucket, _, key = url.removeprefix(SCHEME).partition("/")
    if not url.startswith(SCHEME) or not bucket:
        raise VsearchError(f"{url} names no bucket", "write it as s3://bucket/folder/")
    return bucket, key


@functools.cache
def _client() -> Any:
    """Return the one client of this process; threads share it."""
    try:
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
        from botocore.session import get_session
    except ImportError:
        raise VsearchError("photos in S3 need the package botocore", install_hint("s3")) from None
    elsewhere = any(os.environ.get(name) for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"))
    config = Config(
        connect_timeout=10,
        read_timeout=60,
        max_pool_connections=32,
        retries={"mode": "standard", "max_attempts": 4},
        # other stores than Amazon's know neither buckets as host names nor sums at the end of a body
        s3={"addressing_style": "path" if elsewhere else "auto"},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    try:
        return get_session().create_client("s3", config=config)
    except (BotoCoreError, ValueError) as error:
        raise VsearchError(f"no way to S3: {_line(error)}", _KEYS) from None


@contextmanager
def _translated(url: str, doing: str) -> Iterator[None]:
    """Turn what botocore raises while it lists, reads, writes or deletes into errors of vsearch."""
    _client()  # says what is missing before its errors are asked for
    from botocore import exceptions as aws

    try:
        yield
    except aws.ClientError as error:
        raise _refused(error, url, doing) from None
    except (aws.NoCredentialsError, aws.PartialCredentialsError):
        raise VsearchError(f"{url}: there are no credentials for S3", _KEYS) from None
    except (aws.ConnectionError, aws.HTTPClientError, aws.IncompleteReadError) as error:
        raise PassingError(f"{url}: S3 does not answer ({_line(error)})", _AWAY) from None
    except aws.BotoCoreError as error:
        raise VsearchError(f"{url}: {_line(error)}", _KEYS) from None
    except ConnectionError as error:  # in the midst of a body
        raise PassingError(f"{url}: S3 does not answer ({_line(error)})", _AWAY) from None


def _refused(error: Any, url: str, doing: str) -> VsearchError:
    """Return what an answer of S3 that says no means for whoever asked."""
    code, status = _told(error)
    bucket = split(url)[0]
    if code == "NoSuchBucket":
        return VsearchError(f"there is no bucket {bucket}", "name one that is there")
    if status == 404:
        return ShardError("vanished")
    if status in (401, 403):
        what = {"list": "list", "read": "read from", "write": "write to", "delete": "delete from"}[doing]
        message = f"{url}: these credentials may not {what} the bucket {bucket} ({code})"
        return VsearchError(message, f"have the right granted, or {_ELSEWHERE}" if doing == "write" else _KEYS)
    if status == 507 or code in ("InsufficientStorage", "QuotaExceeded", "XMinioStorageFull"):
        return VsearchError(f"{url}: the storage is full", "make room, then run the same again")
    if status >= 500 or status in (409, 429) or code in ("SlowDown", "RequestTimeout"):
        return PassingError(f"{url}: S3 cannot {doing} at the moment ({code})")
    return VsearchError(f"{url}: S3 refuses to {doing} ({code})", _KEYS)


def _told(error: Any) -> tuple[str, int]:
    """Return the code and the HTTP status of an answer that says no."""
    answer = error.response
    return str(answer["Error"].get("Code", "")), int(answer["ResponseMetadata"].get("HTTPStatusCode", 0))


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
