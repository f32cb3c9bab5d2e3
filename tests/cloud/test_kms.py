"""The envelope of a credential, over moto's KMS."""

from __future__ import annotations

from dataclasses import replace

import pytest
from botocore.stub import Stubber

from chalicelib.cloud.kms import Envelope
from chalicelib.cloud.sdk import client
from chalicelib.foundation.errors import Downstream, Permanent
from chalicelib.graph.credentials import context_of
from tests.conftest import REGION
from tests.fakes import watched

HERE = context_of("acme", "TOKEN")
VALUE = "pässword \N{LOCK}\nline two"


@pytest.fixture
def envelope(aws: None) -> Envelope:
    kms = client("kms", REGION)
    return Envelope(kms, kms.create_key()["KeyMetadata"]["Arn"])


def test_what_is_sealed_opens(envelope: Envelope) -> None:
    """In the same context the value comes back; what is kept of it does not hold it."""
    sealed = envelope.seal(VALUE, HERE)
    assert envelope.open(sealed, HERE) == VALUE
    assert VALUE.encode() not in sealed.ciphertext + sealed.data_key


def test_equal_values_do_not_look_equal(envelope: Envelope) -> None:
    """Each is encrypted by a key and a nonce of its own."""
    one, other = envelope.seal(VALUE, HERE), envelope.seal(VALUE, HERE)
    assert one.ciphertext != other.ciphertext
    assert one.data_key != other.data_key
    assert one.nonce != other.nonce


@pytest.mark.parametrize("context", [context_of("other", "TOKEN"), context_of("acme", "OTHER"), {}])
def test_it_opens_in_its_own_context_only(envelope: Envelope, context: dict[str, str]) -> None:
    """Moved to another organisation or under another name it is worthless."""
    with pytest.raises(Permanent) as caught:
        envelope.open(envelope.seal(VALUE, HERE), context)
    assert caught.value.name == "CredentialUnreadable"


def test_the_value_itself_is_bound_to_its_context(envelope: Envelope) -> None:
    """Not the data key alone: under one that opens, the ciphertext of another name does not."""
    mine, theirs = envelope.seal(VALUE, HERE), envelope.seal(VALUE, context_of("acme", "OTHER"))
    with pytest.raises(Permanent):
        envelope.open(replace(theirs, data_key=mine.data_key), HERE)


def test_damage_is_noticed(envelope: Envelope) -> None:
    """A bit that changed makes no other value, but none."""
    sealed = envelope.seal(VALUE, HERE)
    damaged = bytes([sealed.ciphertext[0] ^ 1]) + sealed.ciphertext[1:]
    with pytest.raises(Permanent):
        envelope.open(replace(sealed, ciphertext=damaged), HERE)


def test_the_value_is_never_sent(aws: None, envelope: Envelope) -> None:
    """KMS is asked for keys: it sees neither the value nor its ciphertext."""
    with watched(client("kms", REGION)) as calls:
        sealed = envelope.seal(VALUE, HERE)
        envelope.open(sealed, HERE)
    assert calls.operations == ["GenerateDataKey", "Decrypt"]
    assert VALUE not in repr(calls.made)
    assert all(params["EncryptionContext"] == HERE for _, params in calls.made)


def test_a_broken_kms_is_downstream(aws: None) -> None:
    """A disabled key and the like are told as what they are: a service that fails."""
    kms = client("kms", REGION)
    with Stubber(kms) as stubber:
        stubber.add_client_error("generate_data_key", "DisabledException", "disabled")
        with pytest.raises(Downstream, match="disabled"):
            Envelope(kms, "alias/none").seal(VALUE, HERE)
