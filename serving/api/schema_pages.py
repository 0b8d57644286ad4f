"""`/schema`: the endpoint's operations as a plain page, and `/schema/openapi.json`. Both are made once.

The page loads nothing: no script, no style and no picture from anywhere.
"""

from html import escape
from typing import Any

from litestar.connection import Request
from litestar.openapi.plugins import JsonRenderPlugin, OpenAPIRenderPlugin

_STYLE = "body{font:1em/1.5 sans-serif;max-width:60em;margin:2em auto}td{padding-right:1em;vertical-align:top}"
_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>{style}</style></head><body>
<h1>{title}</h1>
<p>For programs: <a href="schema/openapi.json">openapi.json</a>, of which clients can be generated.</p>
{operations}
</body></html>
"""
OpenApiDocument = dict[str, Any]  # as Litestar hands it to its plugins: JSON


class KeptJson(JsonRenderPlugin):
    """The OpenAPI document, encoded once."""

    def __init__(self) -> None:
        super().__init__()
        self._kept: bytes | None = None

    def render(self, request: Request[Any, Any, Any], openapi_schema: OpenApiDocument) -> bytes:
        if self._kept is None:
            self._kept = super().render(request, openapi_schema)
        return self._kept


class OperationsPage(OpenAPIRenderPlugin):
    """A page with every operation: its summary, its parameters, and the statuses that it answers with."""

    def __init__(self) -> None:
        super().__init__(path="/")
        self._kept: bytes | None = None

    def render(self, request: Request[Any, Any, Any], openapi_schema: OpenApiDocument) -> bytes:
        if self._kept is None:
            self._kept = operations_page(openapi_schema).encode()
        return self._kept


def operations_page(document: OpenApiDocument) -> str:
    """Return the operations of an OpenAPI document as HTML."""
    operations = [
        _operation(path, method, operation)
        for path, item in sorted(document["paths"].items())
        for method, operation in sorted(item.items())
    ]
    return _PAGE.format(title=escape(document["info"]["title"]), style=_STYLE, operations="\n".join(operations))


def _operation(path: str, method: str, operation: dict[str, Any]) -> str:
    lines = [f"<h2><code>{escape(method.upper())} {escape(path)}</code></h2>"]
    lines.append(f"<p>{escape(operation.get('summary', ''))}</p>")
    rows = [(parameter["name"], _meaning(parameter)) for parameter in operation.get("parameters", [])]
    rows += [("body", ", ".join(body["content"])) for body in [operation.get("requestBody")] if body]
    rows += [(status, answer.get("description", "")) for status, answer in sorted(operation["responses"].items())]
    cells = (f"<tr><td><code>{escape(name)}</code></td><td>{escape(text)}</td></tr>" for name, text in rows)
    return "\n".join([*lines, "<table>", *cells, "</table>"])


def _meaning(parameter: dict[str, Any]) -> str:
    needed = "required" if parameter.get("required") else ""
    return "; ".join(text for text in (needed, parameter.get("description") or "") if text)
