"""The OpenAPI document, made from the table of routes."""

import re
from collections.abc import Iterable
from typing import Any, Protocol

from bide.client.paths import BASE


class Described(Protocol):
    @property
    def method(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def summary(self) -> str: ...
    @property
    def parameters(self) -> tuple[str, ...]: ...


def document(routes: Iterable[Described]) -> dict[str, Any]:
    """Describe `routes` as OpenAPI 3.1."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(f"{BASE}/{route.path}", {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "bide",
            "version": "1",
            "description": "Management API of Durable Functions, and bide's own.",
        },
        "paths": paths,
        "components": {
            "securitySchemes": {
                "code": {"type": "apiKey", "in": "query", "name": "code"},
                "header": {"type": "apiKey", "in": "header", "name": "x-functions-key"},
            }
        },
        "security": [{}, {"code": []}, {"header": []}],
    }


def _operation(route: Described) -> dict[str, Any]:
    in_path = re.findall(r"{(\w+)}", route.path)
    parameters = [_parameter(name, "path") for name in in_path] + [
        _parameter(name, "query") for name in route.parameters
    ]
    operation: dict[str, Any] = {
        "summary": route.summary,
        "parameters": parameters,
        "responses": {"default": {"description": "JSON, or no body", "content": {"application/json": {"schema": {}}}}},
    }
    if route.method == "POST":
        operation["requestBody"] = {"required": False, "content": {"application/json": {"schema": {}}}}
    return operation


def _parameter(name: str, where: str) -> dict[str, Any]:
    return {"name": name, "in": where, "required": where == "path", "schema": {"type": "string"}}
