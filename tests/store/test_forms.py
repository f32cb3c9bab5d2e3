"""Forms: texts that are filled in."""

from __future__ import annotations

import pytest

from chalicelib.foundation.json_types import dumps, escaped, loads
from chalicelib.store.forms import Form, slot


def test_it_says_what_the_encoder_says() -> None:
    """A slot may stand several times, and anywhere in a text."""
    form = Form(dumps({"id": slot("id"), "key": f"RUN#{slot('id')}%", "value": {"text": slot("text")}}))
    text = 'A "quoted" % \\ \n %s ä😀'
    assert loads(form.filled({"id": "x", "text": escaped(text)})) == {
        "id": "x",
        "key": "RUN#x%",
        "value": {"text": text},
    }


def test_it_is_filled_in_again_and_again() -> None:
    form = Form(f"{slot('a')}-{slot('b')}")
    assert [form.filled({"a": "1", "b": b, "c": "not asked for"}) for b in "23"] == ["1-2", "1-3"]


def test_without_slots_it_is_the_text() -> None:
    assert Form("100 %").filled({}) == "100 %"


def test_a_slot_without_a_text_is_an_error() -> None:
    with pytest.raises(KeyError, match="b"):
        Form(slot("b")).filled({"a": ""})
