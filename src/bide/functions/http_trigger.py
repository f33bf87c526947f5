"""HTTP triggers: routes, authorisation levels, requests and responses."""

import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import azure.functions as func
from azure.functions.meta import Datum

from bide.errors import ConfigurationError
from bide.functions.function import RETURN, Function
from bide.functions.indexing import Problem
from bide.functions.invocation import AzureValue, Invocation
from bide.functions.routes import Template, parse_template

_log = logging.getLogger("bide.functions.http")

_NO_CONTENT = 204
_FINAL_STATUSES = range(200, 600)
_SERVERS_OWN = frozenset({"content-length", "transfer-encoding", "connection"})
"""How an answer is framed; a wrong one would take bytes of the next."""
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


@dataclass(frozen=True)
class HttpRoute:
    """A function under its route. `methods` is empty for all; `level` is anonymous, function or admin."""

    function: Function
    template: Template
    methods: frozenset[str]
    level: str

    @property
    def url(self) -> str:
        return str(self.function.trigger.get("route") or self.function.name)


@dataclass(frozen=True)
class Answer:
    """What goes back to the caller."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


class Routes:
    """All routes of an app below its prefix, the most specific first."""

    def __init__(self, functions: Iterable[Function], prefix: str) -> None:
        """Routes that cannot be read are left out, and are in `problems`."""
        self.problems: list[Problem] = []
        self.prefix = f"/{prefix}/" if prefix else "/"
        routes = [route for function in functions if (route := self._read(function)) is not None]
        self.routes = sorted(routes, key=lambda route: route.template.precedence)

    def _read(self, function: Function) -> HttpRoute | None:
        trigger = function.trigger
        methods = trigger.get("methods") or ()
        try:
            template = parse_template(str(trigger.get("route") or function.name))
        except ConfigurationError as error:
            self.problems.append(Problem(function.where, str(error)))
            return None
        level = str(trigger.get("authLevel") or "function").casefold()
        names = [methods] if isinstance(methods, str) else methods
        return HttpRoute(function, template, frozenset(str(each).upper() for each in names), level)

    def find(self, method: str, path: str) -> tuple[HttpRoute, dict[str, str]] | None:
        """Find the route of a path (percent-encoded) and its parameters."""
        if path.casefold() + "/" == self.prefix.casefold():
            path += "/"
        if not path.casefold().startswith(self.prefix.casefold()):
            return None
        below = path[len(self.prefix) :]
        for route in self.routes:
            if route.methods and method not in route.methods:
                continue
            values = route.template.match(below)
            if values is not None:
                return route, values
        return None


def request_value(
    method: str,
    url: str,
    query: bytes,
    headers: Iterable[tuple[bytes, bytes]],
    params: Mapping[str, str],
    body: bytes,
) -> AzureValue:
    """Make the trigger's value of a request; `url` is the whole one, `headers` are ASGI's.

    Values of a repeated key or header are joined by a comma, as the Functions host does.
    """
    queries = _joined(parse_qsl(query.decode("latin-1"), keep_blank_values=True, errors="replace"))
    named = _joined((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in headers)
    value: dict[str, Any] = {
        "method": Datum(method, "string"),
        "url": Datum(url, "string"),
        "headers": _datums(named),
        "query": _datums(queries),
        "params": _datums(params),
        "body": Datum(body, "bytes"),
    }
    return AzureValue(Datum(value, "http"))


def _joined(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    joined: dict[str, str] = {}
    for name, value in pairs:
        joined[name] = f"{joined[name]},{value}" if name in joined else value
    return joined


def _datums(values: Mapping[str, str]) -> dict[str, Datum]:
    return {name: Datum(value, "string") for name, value in values.items()}


def answer_of(invocation: Invocation) -> Answer:
    """Turn what the function returned, or set on its http output, into the answer.

    A text is a 200; what is neither that nor an `HttpResponse` is a 500, as on Azure.
    """
    results = [value for binding, value in invocation.values() if binding.type == "http"]
    has_return = any(binding.name == RETURN for binding in invocation.function.bindings)
    result = results[0] if results else None if has_return else invocation.returned
    if isinstance(result, func.HttpResponse):
        return _of_response(result)
    if isinstance(result, str):
        return Answer(200, result.encode(), (("content-type", "text/plain; charset=utf-8"),))
    if result is None and not any(binding.type == "http" for binding in invocation.function.bindings):
        return Answer(_NO_CONTENT)
    _log.error(
        "%s returned %s; an HTTP function returns text or an HttpResponse",
        invocation.function.where,
        type(result).__name__,
    )
    return Answer(500)


def _of_response(response: func.HttpResponse) -> Answer:
    """Raise `ValueError` for what no answer can carry."""
    if response.status_code not in _FINAL_STATUSES:
        raise ValueError(f"An HTTP answer's status is 200 to 599, not {response.status_code}.")
    headers = [_header(name, str(value)) for name, value in response.headers.items()]
    headers = [(name, value) for name, value in headers if name not in _SERVERS_OWN]
    if not any(name == "content-type" for name, _ in headers):
        is_text = response.mimetype.startswith("text/") and "charset" not in response.mimetype
        charset = f"; charset={response.charset}" if is_text and response.charset else ""
        headers.append(("content-type", f"{response.mimetype}{charset}"))
    return Answer(response.status_code, response.get_body(), tuple(headers))


def _header(name: str, value: str) -> tuple[str, str]:
    if not _TOKEN.fullmatch(name) or _CONTROLS.search(value):
        raise ValueError(f"{name!r:.100}: {value!r:.100} is no HTTP header: it has a control character, or is no name.")
    return name.casefold(), value
