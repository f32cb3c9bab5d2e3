"""``{{ }}`` in config values: what is replaced by what, where an expression ends, and which faults are told."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.foundation.errors import Fault
from chalicelib.foundation.expressions import (
    ExpressionError,
    Limits,
    References,
    Template,
    render,
    template_faults,
    template_references,
)
from chalicelib.foundation.json_types import Stored

NAMES: dict[str, Any] = {
    "data": {
        "id": 7,
        "name": "Ada",
        "price": 3.0,
        "none": None,
        "list": [1, None, "x"],
        "o": {"a": 1.0},
        "tiny": 0.00001,
    },
    "nodes": {"a": {"x": 1}},
}


@pytest.mark.parametrize(
    ("template", "value"),
    [
        # A whole string becomes the value, with its type
        ("{{ data.id }}", 7),
        ("{{data.list}}", [1, None, "x"]),
        ("{{ data.missing }}", None),
        ("{{ data.none }}", None),
        ("{{ data.price }}", 3.0),
        # In a longer string it becomes text
        ("id={{ data.id }}", "id=7"),
        (" {{ data.id }}", " 7"),
        ("{{ data.id }}{{ data.name }}", "7Ada"),
        ("<{{ data.missing }}{{ data.none }}>", "<>"),
        ("{{ data.list }}!", '[1,null,"x"]!'),
        ("{{ data.o }}!", '{"a":1}!'),
        ("{{ data.id = 7 }}!", "true!"),
        ("{{ data.price }} EUR", "3 EUR"),
        ("{{ 0.1 + 0.2 }} EUR", "0.3 EUR"),
        ("{{ 1e20 }} {{ data.tiny }} {{ -1.50 }}", "100000000000000000000 0.00001 -1.5"),
        # Ends
        ('{{ {"a": {"b": 1}} }}', {"a": {"b": 1}}),
        ('{{{"a":{"b":1}}}}', {"a": {"b": 1}}),
        ("{{ '}}' }}!", "}}!"),
        ('{{ "\\"}}" }}!', '"}}!'),
        ("{{ data.`}}` }}!", "!"),
        ("{{ 1 /* }} ' */ }}!", "1!"),
        ("{{ $replace('a}}b', /\\}{2}/, '-') }}!", "a-b!"),
        ("{{ $split('a\"b', /\"/)[0] }}!", "a!"),
        ("{{ data.id / 7 & '/}}' }}!", "1/}}!"),
        ("{{ (data.id) / 7 / 1 }}{{ 'x' }}", "1x"),
        ("{{ true and /\\}\\}/('a}}') ? 1 : 2 }}!", "1!"),
        ('{{ "{{" }}!', "{{!"),
        # Everything else is text
        ("${API_KEY} {{ data.id }} ${OTHER}", "${API_KEY} 7 ${OTHER}"),
        ("plain } }} {", "plain } }} {"),
        ("", ""),
        (5, 5),
        (None, None),
        ({"{{ data.id }}": ["{{ data.id }}", {"b": "{{ data.name }}"}]}, {"{{ data.id }}": [7, {"b": "Ada"}]}),
    ],
)
def test_render(template: Any, value: Any) -> None:
    """A template becomes its value."""
    found = render(template, NAMES)
    assert found == value
    assert type(found) is type(value)


def test_template_is_read_once() -> None:
    """One template renders any number of documents."""
    template = Template({"url": "https://x.test/{{ data.id }}"})
    assert [template.render({"data": {"id": n}}) for n in (1, 2)] == [
        {"url": "https://x.test/1"},
        {"url": "https://x.test/2"},
    ]


def test_literal_sees_only_what_the_author_wrote() -> None:
    """A value that looks like a credential is never taken for one."""
    names: dict[str, Any] = {"data": "${KEY}"}
    found = render(
        ["${KEY}", "a ${KEY} {{ data }}", "{{ data }}", {"${KEY}": 1}],
        names,
        literal=lambda text: text.replace("${KEY}", "secret"),
    )
    assert found == ["secret", "a secret ${KEY}", "${KEY}", {"${KEY}": 1}]


@pytest.mark.parametrize(
    ("template", "position"),
    [
        ("{{", 0),
        ("ab {{ data", 3),
        ("{{ 'a }}", 0),
        ("{{ {'a': 1 }}", 0),
        ("{{ /a }}", 0),
        ("{{ /* }}", 0),
        ("ab {{ data. }}", 12),
        ("{{ }}", 3),
        ("{{ a } b }}", 6),
        ("{{ 1 }} {{ $eval('1') }}", 16),
    ],
)
def test_malformed(template: str, position: int | None) -> None:
    """A malformed template is refused, with the position in the whole string."""
    with pytest.raises(ExpressionError) as caught:
        render(template, NAMES)
    assert caught.value.position == position
    assert caught.value.source == template


def test_faults() -> None:
    """Every malformed expression is told with its path, not only the first."""
    config: dict[str, Any] = {
        "fields": {"a": ["ok", "{{ data.id }}", "{{ data. }}"], "b": "{{ 1 + }} and {{ ( }}"},
        "url": "{{ open",
        "count": 3,
    }
    faults = template_faults(config, "config")
    assert [fault.path for fault in faults] == [
        "config.fields.a[2]",
        "config.fields.b",
        "config.fields.b",
        "config.url",
    ]
    assert all(isinstance(fault, Fault) and fault.message for fault in faults)
    assert "without its }}" in faults[3].message
    assert template_faults({"a": ["{{ 1 }}"]}, "config") == []
    assert [fault.path for fault in template_faults("{{ ( }}", "config.url")] == ["config.url"]
    assert [fault.path for fault in template_faults(["{{ ( }}"])] == ["[0]"]


def test_references() -> None:
    """A config value reads what its expressions read; malformed ones read nothing."""
    config = {"a": "{{ nodes.a.x }} {{ ( }} {{ vars.k }}", "b": ["{{ nodes.b }}", "{{ data.id }}", "{{ open"]}
    assert template_references(config) == References(frozenset({"a", "b"}), False, frozenset({"nodes", "vars", "data"}))
    assert template_references({"a": "{{ nodes }}"}).all_nodes
    assert template_references("text") == References()


def test_depth() -> None:
    """A config value nested too deeply is an error, and a fault."""
    deep: Any = "{{ 1 }}"
    for _ in range(5_000):
        deep = [deep]
    with pytest.raises(ExpressionError, match="nested deeper"):
        render(deep, NAMES)
    assert ["nested deeper" in fault.message for fault in template_faults(deep)] == [True]
    assert template_references(deep) == References()


def test_limits_hold_for_the_whole_value() -> None:
    """Many small expressions share one set of limits."""
    with pytest.raises(ExpressionError, match="larger than 1000 bytes"):
        render(["{{ data.name & '..............................' }}"] * 100, NAMES, Limits(max_output_bytes=1_000))
    with pytest.raises(ExpressionError, match="takes longer than"):
        render(["{{ $map([1..1000], function($i) { $i }) }}"] * 10_000, NAMES, Limits(timeout_ms=200))


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "piece", ["{{", "{{ '", "{{ \\'", '{{ "\\"', "{{ /", "{{ 1 /*", "{{ {", "}} {{ 1 }}", "{{ 1 }}", "{{ `"]
)
def test_scanning_is_linear(piece: str) -> None:
    """Half a megabyte of braces and quotes is read in one pass."""
    text = piece * (500_000 // len(piece))
    try:
        Template(text)
    except ExpressionError:
        assert template_faults(text)


@given(st.text(alphabet="{}'\"`/\\ $a1[](),:*%", max_size=40))
def test_any_text(text: str) -> None:
    """Any text is a template or has a fault; never another exception."""
    try:
        Template(text)
    except ExpressionError:
        assert template_faults(text)
    else:
        assert template_faults(text) == []


def test_what_is_passed_on_is_not_evaluated() -> None:
    """A string that only names something stored becomes it; in a longer one it is evaluated as ever."""
    stored = Stored("key", 100_000)
    template = Template({"a": ["{{ data.x }}", "{{data.x}}!", "{{ data.y }}", "${C}"], "b": "{{ data.x & '' }}"})
    found = template.render_passing(
        {"data": {"x": "read", "y": 2}},
        lambda expression: stored if expression.path == ("data", "x") else None,
        literal=str.lower,
    )
    assert found == {"a": [stored, "read!", 2, "${c}"], "b": "read"}
