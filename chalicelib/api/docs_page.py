"""``GET /api/v1/docs``: the OpenAPI document as a page for people, in one piece: no script, nothing from elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from html import escape
from typing import Any

from chalice import Blueprint

from chalicelib.api.endpoint import Answer, Call, Router
from chalicelib.api.openapi import document

blueprint = Blueprint(__name__)
route = Router(blueprint, "Description").route

_HTML = "text/html; charset=utf-8"
_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --get: #2a7de1; --post: #1f8a4c; --put: #b7791f;
  --delete: #c53030; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line); }
nav a { margin-right: 1rem; }
details { border: 1px solid var(--line); border-radius: 6px; margin: .5rem 0; }
summary { padding: .5rem .75rem; cursor: pointer; }
details > div { padding: 0 1rem .75rem; border-top: 1px solid var(--line); }
code, pre { font: 13px/1.45 ui-monospace, monospace; }
pre { background: var(--soft); padding: .75rem; border-radius: 4px; overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .25rem .5rem; border-bottom: 1px solid var(--line); vertical-align: top; }
.method { display: inline-block; min-width: 4.5em; font-weight: 600; }
.get { color: var(--get); } .post { color: var(--post); } .put { color: var(--put); } .delete { color: var(--delete); }
.about { opacity: .75; }
"""


@route("GET", "/api/v1/docs", "This description, for people", scope=None, answer=None, content_type=_HTML)
def get_docs(_: Call) -> Answer:
    return Answer(page())


@cache
def page() -> str:
    """The whole page."""
    described = document()
    info = described["info"]
    links = " ".join(f'<a href="#{_anchor(tag["name"])}">{escape(tag["name"])}</a>' for tag in described["tags"])
    sections = "".join(_section(tag["name"], described) for tag in described["tags"])
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(info["title"])} API</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style></head><body>'
        f"<h1>{escape(info['title'])} API <small>{escape(info['version'])}</small></h1>"
        f"<p>{escape(info['description'])} Requests carry an API key in the header <code>X-API-Key</code>; errors are "
        '<code>application/problem+json</code>. The same for programs: <a href="openapi.json">openapi.json</a>.</p>'
        f"<nav>{links}</nav>{sections}</body></html>"
    )


def _section(tag: str, described: dict[str, Any]) -> str:
    operations = "".join(
        _operation(method, path, operation, described)
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
        if tag in operation["tags"]
    )
    return f'<h2 id="{_anchor(tag)}">{escape(tag)}</h2>{operations}'


def _operation(method: str, path: str, operation: dict[str, Any], described: dict[str, Any]) -> str:
    body = operation.get("requestBody")
    parts = [
        f"<p>{_marked(operation['description'])}</p>" if "description" in operation else "<p>No key is needed.</p>",
        f"<pre>{escape(_curl(method, path, operation))}</pre>",
        _parameters(operation["parameters"]),
        f"<h4>Body</h4>{_schema(body['content']['application/json']['schema'], described)}" if body else "",
        "".join(_responses(operation["responses"], described)),
    ]
    word = f'<span class="method {method}">{method.upper()}</span>'
    return (
        f'<details id="{escape(operation["operationId"])}"><summary>{word}'
        f' <code>{escape(path)}</code> <span class="about">{escape(operation["summary"])}</span></summary>'
        f"<div>{''.join(parts)}</div></details>"
    )


def _curl(method: str, path: str, operation: dict[str, Any]) -> str:
    lines = [f'curl -X {method.upper()} "$API_URL{path}"']
    if operation["security"]:
        lines.append('-H "X-API-Key: $API_KEY"')
    if "requestBody" in operation:
        lines.append("-H 'Content-Type: application/json' -d '{...}'")
    return " \\\n  ".join(lines)


def _parameters(parameters: list[dict[str, Any]]) -> str:
    if not parameters:
        return ""
    rows = "".join(
        f"<tr><td><code>{escape(item['name'])}</code></td><td>{item['in']}</td>"
        f"<td>{escape(item.get('description', ''))}</td><td><code>{escape(json.dumps(item['schema']))}</code></td></tr>"
        for item in parameters
    )
    return f"<h4>Parameters</h4><table>{rows}</table>"


def _responses(responses: dict[str, Any], described: dict[str, Any]) -> Iterator[str]:
    """The answer without error in full, and the errors by name."""
    for status, response in responses.items():
        if status < "300":
            content = response.get("content", {}).get("application/json")
            yield f"<h4>{status}</h4>{_schema(content['schema'], described) if content else '<p>An empty body.</p>'}"
    errors = ", ".join(
        f"{status} {response['description']}" for status, response in responses.items() if status >= "300"
    )
    yield f"<h4>Errors</h4><p>{escape(errors)}</p>"


def _schema(schema: dict[str, Any], described: dict[str, Any]) -> str:
    """A schema with its references followed one level deep, so that fields can be read where they are."""
    shown = _resolved(schema, described)
    fields = shown.get("properties")
    if not fields:
        return f"<pre>{escape(json.dumps(shown, indent=2))}</pre>"
    required = set(shown.get("required", ()))
    rows = "".join(
        f"<tr><td><code>{escape(name)}</code>{' *' if name in required else ''}</td>"
        f"<td><code>{escape(_type(field))}</code></td><td>{escape(field.get('description', ''))}</td></tr>"
        for name, field in fields.items()
    )
    return f"<table>{rows}</table>"


def _resolved(schema: dict[str, Any], described: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in schema:
        return schema
    found: dict[str, Any] = described["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return found


def _type(schema: dict[str, Any]) -> str:
    """The type of a field in a few words: ``string | null``, ``NodeBody[]``."""
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    if "anyOf" in schema:
        return " | ".join(map(_type, schema["anyOf"]))
    if "enum" in schema or "const" in schema:
        return " | ".join(json.dumps(value) for value in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        return f"{_type(schema.get('items', {}))}[]"
    return str(schema.get("type", "any"))


def _marked(text: str) -> str:
    """Text with what stands in backticks as code."""
    return "".join(
        f"<code>{escape(part)}</code>" if number % 2 else escape(part) for number, part in enumerate(text.split("`"))
    )


def _anchor(tag: str) -> str:
    return f"tag-{escape(tag.lower())}"
