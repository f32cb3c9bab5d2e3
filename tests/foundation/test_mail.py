"""Mail is read whatever it is: by the rules, against them, and large."""

from __future__ import annotations

import base64
from email.message import EmailMessage

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.foundation.mail import MAX_ATTACHMENTS, MAX_BODY_CHARS, Mail, parse_mail


def lines(*parts: str | bytes) -> bytes:
    return b"\r\n".join(part.encode() if isinstance(part, str) else part for part in parts)


def texts_of(mail: Mail) -> str:
    names = [name for attachment in mail.attachments for name in (attachment.name, attachment.type)]
    fixed = [mail.sender, mail.to, mail.cc, mail.subject, mail.body_text, mail.body_html, mail.message_id]
    return "".join([*fixed, *mail.headers, *mail.headers.values(), *names])


def test_a_mail_with_everything() -> None:
    """Text, HTML, an attachment with a name beyond ASCII, and encoded words in headers, as a mail program sends it."""
    message = EmailMessage()
    message["From"] = "Zoë Müller <zoe@example.org>"
    message["To"] = "a@example.org, B <b@example.org>"
    message["Cc"] = "c@example.org"
    message["Subject"] = "Rechnung für März ✓ " + "sehr lang " * 20
    message["Message-ID"] = "<1@example.org>"
    message["Received"] = "by one"
    message["Received"] = "by two"
    message.set_content("Grüße\n")
    message.add_alternative("<p>Grüße</p>\n", subtype="html")
    message.add_attachment(b"\x00\xff%PDF", maintype="application", subtype="pdf", filename="März.pdf")
    mail = parse_mail(message.as_bytes())
    assert mail.sender == "Zoë Müller <zoe@example.org>"
    assert (mail.to, mail.cc) == ("a@example.org, B <b@example.org>", "c@example.org")
    assert mail.subject == ("Rechnung für März ✓ " + "sehr lang " * 20).strip()
    assert (mail.body_text, mail.body_html, mail.message_id) == ("Grüße\n", "<p>Grüße</p>\n", "<1@example.org>")
    [attachment] = mail.attachments
    assert (attachment.name, attachment.type, attachment.content) == ("März.pdf", "application/pdf", b"\x00\xff%PDF")
    assert mail.headers["received"] == "by one\nby two"


@pytest.mark.parametrize(
    ("raw", "subject"),
    [
        (b"=?iso-8859-1?Q?caf=E9?= =?utf-8?B?4pyT?=", "café✓"),  # what is encoded side by side is one text
        (b"=?utf-8?Q?one?=\r\n =?utf-8?Q?_two?=", "one two"),
        (b"=?x-nobody?Q?caf=E9?=", None),  # a charset that there is not
        ("café in UTF-8".encode(), "café in UTF-8"),  # bytes as they are
        ("café in Latin-1".encode("latin-1"), "café in Latin-1"),
        (b"=?utf-8?B?not base64!?=", None),
        (b"=?utf-8?Q?" + b"=" * 5000, None),
        (b"a\r\n\tb", "a b"),
        (b"", ""),
    ],
)
def test_subjects(raw: bytes, subject: str | None) -> None:
    """RFC 2047 is decoded; what is none of it is shown as it is."""
    found = parse_mail(lines(b"Subject: " + raw, "", "text")).subject
    assert subject is None or found == subject
    found.encode()  # can be stored


@pytest.mark.parametrize(
    ("charset", "body", "text"),
    [
        ("utf-8", "žluťoučký".encode(), "žluťoučký"),
        ("iso-8859-2", "žluťoučký".encode("iso-8859-2"), "žluťoučký"),
        ("iso-2022-jp", "日本語".encode("iso-2022-jp"), "日本語"),
        ("utf-16", "日本語".encode("utf-16"), "日本語"),
        ("x-nobody", "žluťoučký".encode(), "žluťoučký"),  # nobody knows it: UTF-8 it is
        ("us-ascii", b"caf\xe9", "café"),  # 8 bits where 7 are said to be
        ("punycode", b"caf\xe9", "café"),  # Python decodes it, and it is no charset
        ("base64", b"caf\xe9", "café"),
        ('"', b"caf\xe9", "café"),
        ("utf-8", b"\xff\xfe\x81", "ÿþ\x81"),
    ],
)
def test_charsets(charset: str, body: bytes, text: str) -> None:
    """What the mail says of its charset is tried first, and need not be true."""
    raw = lines(f"Content-Type: text/plain; charset={charset}", "Content-Transfer-Encoding: 8bit", "", body)
    assert parse_mail(raw).body_text == text


def test_nested_parts() -> None:
    """Text and HTML are found in a multipart within another; the rest is attachments: images, and a mail."""
    raw = lines(
        "Content-Type: multipart/mixed; boundary=A", "",
        "--A", "Content-Type: multipart/related; boundary=B", "",
        "--B", "Content-Type: multipart/alternative; boundary=C", "",
        "--C", "", "plain",
        "--C", "Content-Type: text/html", "", "<b>html</b>", "--C--",
        "--B", "Content-Type: image/png", "Content-Transfer-Encoding: base64", "", base64.b64encode(b"png"), "--B--",
        "--A", "Content-Type: text/plain; name=notes.txt", "", "notes",
        "--A", "Content-Type: text/csv", 'Content-Disposition: attachment; filename="..\\..\\a/rows.csv"', "", "1,2",
        "--A", "Content-Type: message/rfc822", "", "Subject: inner", "", "inner text",
        "--A", "", "a footer", "--A--",
    )  # fmt: skip
    mail = parse_mail(raw)
    assert (mail.body_text, mail.body_html) == ("plain\na footer", "<b>html</b>")
    found = [(attachment.name, attachment.type, attachment.content) for attachment in mail.attachments]
    assert found[:3] == [
        ("", "image/png", b"png"),
        ("notes.txt", "text/plain", b"notes"),
        ("rows.csv", "text/csv", b"1,2"),
    ]
    assert found[3][1] == "message/rfc822"
    assert b"Subject: inner" in found[3][2]
    assert mail.subject == ""


MALFORMED = {
    "nothing": b"",
    "no headers": b"\r\n\r\njust text",
    "not a mail": bytes(range(256)) * 10,
    "headers only": b"Subject: x",
    "a boundary that never comes": lines("Content-Type: multipart/mixed; boundary=A", "", "--B", "", "text"),
    "no boundary": lines("Content-Type: multipart/mixed", "", "--A", "", "text"),
    "bad base64": lines("Content-Transfer-Encoding: base64", "", "%%%"),
    "bad address": lines("From: <<<>>>,,;:@@", "To: =?utf-8?q?=00?= <", "Message-ID: <a b [c]>", "", "text"),
    "bad type": lines("Content-Type: /;;;=;charset", "Content-Disposition: ;;filename*=x'y'%zz", "", "text"),
    "a header without end": b"Subject: " + b"x" * 3_000_000,
    "many headers": b"X: y\r\n" * 50_000,
    "deep": b"".join(
        lines(f"Content-Type: multipart/mixed; boundary={n}", "", f"--{n}", "") for n in range(3000)
    ),
    "short lines": b"\r\n" + b"\n" * 10_000_000,
    "wide": lines("Content-Type: multipart/mixed; boundary=A", "", *["--A\r\nContent-Type: a/b\r\n\r\nx"] * 3000),
}  # fmt: skip


@pytest.mark.timeout(120)
@pytest.mark.parametrize("raw", MALFORMED.values(), ids=MALFORMED)
def test_what_is_malformed_is_read_all_the_same(raw: bytes) -> None:
    """Nothing fails, nothing takes long, and what comes of it is bounded."""
    mail = parse_mail(raw)
    assert len(mail.attachments) <= MAX_ATTACHMENTS
    assert len(mail.body_text) <= MAX_BODY_CHARS
    texts_of(mail).encode()


def test_a_large_mail() -> None:
    """Attachments of 20 MB are read whole."""
    message = EmailMessage()
    message.set_content("see there")
    message.add_attachment(b"\x01\xfe" * 10_000_000, maintype="application", subtype="octet-stream", filename="large")
    [attachment] = parse_mail(message.as_bytes()).attachments
    assert len(attachment.content) == 20_000_000


PIECES = st.sampled_from(
    [b"From: ", b"\r\n", b"\r\n\r\n", b"--A", b"--A--", b"Content-Type: multipart/mixed; boundary=A", b"=?utf-8?B?",
     b"?=", b"Content-Type: text/plain; charset=", b"Content-Disposition: attachment; filename*0*=utf-8''", b"\xe9",
     b"Content-Transfer-Encoding: ", b"base64", b"quoted-printable", b"x-uuencode", b"begin 644 a", b"<a@b>", b"("]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(PIECES, st.binary(max_size=20)), max_size=40).map(b"".join))
def test_no_mail_is_too_odd(raw: bytes) -> None:
    """Whatever the bytes are, they are read, and what comes of them can be stored."""
    texts_of(parse_mail(raw)).encode()
