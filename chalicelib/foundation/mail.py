"""Mail as it comes in: what people and programs of all times send, read so that nothing of it can do harm.

``parse_mail`` never fails. What is against the rules is read as well as it can be: a charset that nobody knows, bytes
where none may be, a structure that is broken. What would take too long (thousands of parts in each other) is not taken
apart: the headers are read, and the rest is the text of the mail as it came.

Names of headers are in lower case. Texts are Unicode without lone surrogates, so that they can be stored and sent on.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from email import policy
from email.message import EmailMessage
from email.parser import BytesHeaderParser, BytesParser
from typing import Any

MAX_BODY_CHARS = 5_000_000  # of the text, and of the HTML; what is longer is cut
MAX_ATTACHMENTS = 500
MAX_NAME_CHARS = 200

_MAX_HEADERS = 1000
_MAX_HEADER_CHARS = 10_000
_MAX_MULTIPARTS = 50  # the parser asks each multipart around a line whether it ends there
_MAX_LINES = 2_000_000

#: What Python can decode and is no charset, or takes time that grows with the square of the length.
_NO_CHARSETS = frozenset({"idna", "punycode", "undefined", "unicode_escape", "raw_unicode_escape"})
_FALLBACKS = ("utf-8", "cp1252", "latin-1")  # the last one takes any bytes


@dataclass(frozen=True, slots=True)
class Attachment:
    name: str  # a file name without a path; empty where it has none
    type: str  # "application/pdf"
    content: bytes


@dataclass(frozen=True, slots=True)
class Mail:
    sender: str
    to: str
    cc: str
    subject: str
    body_text: str
    body_html: str
    headers: dict[str, str]  # of a name that stands there several times, each on a line of its own
    message_id: str
    attachments: tuple[Attachment, ...]


def parse_mail(raw: bytes) -> Mail:
    """Reads a mail, whatever it is."""
    try:
        if len(re.findall(rb"multipart/", raw, re.IGNORECASE)) > _MAX_MULTIPARTS or raw.count(b"\n") > _MAX_LINES:
            return _unparsed(raw)
        return _mail(BytesParser(policy=policy.default).parsebytes(raw))
    except Exception:  # a rule that is broken in a way of which the library has not thought
        return _unparsed(raw)


def _mail(message: Any) -> Mail:
    headers = _headers(message)
    texts: dict[str, list[str]] = {"text/plain": [], "text/html": []}
    attachments: list[Attachment] = []
    for part in _leaves(message):
        kind = part.get_content_type()
        if kind in texts and part.get_content_disposition() != "attachment" and not part.get_filename():
            texts[kind].append(_decoded(_content(part), part.get_content_charset()))
        elif len(attachments) < MAX_ATTACHMENTS:
            attachments.append(Attachment(_file_name(part), kind, _content(part)))
    text, html = ("\n".join(texts[kind])[:MAX_BODY_CHARS] for kind in ("text/plain", "text/html"))
    return _of_headers(headers, text, html, tuple(attachments))


def _unparsed(raw: bytes) -> Mail:
    """The headers of a mail, with the rest as its text."""
    head, _, body = raw.partition(b"\n\n") if b"\r\n\r\n" not in raw else raw.partition(b"\r\n\r\n")
    try:
        headers = _headers(BytesHeaderParser(policy=policy.compat32).parsebytes(head[: _MAX_HEADER_CHARS * 10]))
    except Exception:
        headers = {}
    return _of_headers(headers, _decoded(body[:MAX_BODY_CHARS], None), "", ())


def _of_headers(headers: dict[str, str], text: str, html: str, attachments: tuple[Attachment, ...]) -> Mail:
    return Mail(
        sender=headers.get("from", ""),
        to=headers.get("to", ""),
        cc=headers.get("cc", ""),
        subject=headers.get("subject", ""),
        body_text=text,
        body_html=html,
        headers=headers,
        message_id=headers.get("message-id", "").strip(),
        attachments=attachments,
    )


def _leaves(message: Any) -> Iterator[Any]:
    """The parts that have no parts, in their order. A mail within a mail is one of them: it is an attachment."""
    waiting = [message]
    while waiting:
        part = waiting.pop()
        if part.get_content_maintype() == "multipart" and isinstance(part.get_payload(), list):
            waiting += reversed(part.get_payload())
        else:
            yield part


def _content(part: Any) -> bytes:
    payload = part.get_payload()
    if isinstance(payload, list):  # message/rfc822
        return b"\n".join(each.as_bytes(policy=policy.compat32) for each in payload)
    return part.get_payload(decode=True) or b""


def _decoded(content: bytes, charset: str | None) -> str:
    wanted = [charset] if charset and _is_charset(charset) else []
    for name in (*wanted, *_FALLBACKS):
        try:
            return _clean(content.decode(name))
        except ValueError:
            continue
    raise AssertionError("latin-1 takes any bytes")


def _is_charset(name: str) -> bool:
    try:
        found = codecs.lookup(name)
        b"".decode(name)  # raises LookupError for what encodes no text, as base64
    except (LookupError, ValueError):
        return False
    return found.name not in _NO_CHARSETS


def _clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


def _headers(message: Any) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in list(message.raw_items())[:_MAX_HEADERS]:
        key, text = _clean(str(name)).lower(), _header(str(value))
        found[key] = f"{found[key]}\n{text}" if key in found else text
    return found


def _header(value: str) -> str:
    """The value of a header, unfolded, with encoded words (RFC 2047) decoded."""
    # The parser hands on bytes that may not be there as lone surrogates.
    text = _decoded(value.encode("utf-8", "surrogateescape"), None)
    text = re.sub(r"\r?\n[ \t]*|\r", " ", text[:_MAX_HEADER_CHARS]).strip()
    if "=?" not in text:
        return text
    try:
        # As one without structure: what an address list decodes to could be mistaken for other addresses.
        return _clean(str(policy.default.header_factory("subject", text)))
    except Exception:
        return text


def _file_name(part: EmailMessage) -> str:
    try:
        name = _header(part.get_filename() or "")
    except Exception:
        return ""
    name = re.split(r"[/\\]", name)[-1]
    return re.sub(r"[\x00-\x1f\x7f]", "", name)[:MAX_NAME_CHARS]
