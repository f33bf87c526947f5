"""The ASGI app of a hosted app: its HTTP functions, and the management API beside them."""

import hmac
import logging
from typing import Any

from bide.client.paths import BASE
from bide.errors import PayloadTooLargeError
from bide.functions.host import FunctionHost
from bide.functions.http_trigger import Answer, HttpRoute, answer_of, request_value
from bide.http.auth import ForbiddenError, check_host, check_page, given_key
from bide.http.request import ClientGoneError, Receive, Request, Scope, Send, read_body

_log = logging.getLogger("bide.functions.http")

_WITHOUT_BODY = frozenset({204, 304})
_RESERVED = "/runtime/"
"""No route of an app reaches this, not even `{*rest}` without a prefix."""
_MAX_BODY_BYTES = 100 << 20
"""As on Azure."""


class FunctionsAsgi:
    """Answers HTTP functions below their prefix, and passes everything else on to the management API.

    `rpc` is that API for the app's own clients, who know its path and have no key.
    """

    def __init__(self, host: FunctionHost, management: Any, rpc: Any) -> None:
        self._host = host
        self._management = management
        self._rpc = rpc
        self._rpc_path = host.rpc_path.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._management(scope, receive, send)
            return
        raw: bytes = scope.get("raw_path") or scope["path"].encode()
        at = len(self._rpc_path)
        if hmac.compare_digest(raw[:at], self._rpc_path) and raw[at : at + 1] == b"/":
            await self._rpc({**scope, "raw_path": BASE.encode() + raw[at:]}, receive, send)
            return
        path = raw.decode("latin-1")
        if path.casefold().startswith(_RESERVED):
            await self._management(scope, receive, send)
            return
        found = self._host.routes.find(scope["method"], path)
        if found is None:
            await self._management(scope, receive, send)
        else:
            await _send(await self._answer(scope, receive, *found), scope["method"], send)

    async def _answer(self, scope: Scope, receive: Receive, route: HttpRoute, params: dict[str, str]) -> Answer:
        request = Request.read(scope)
        try:
            if not self._may(request, route):
                return Answer(401)
            body = await read_body(receive, _MAX_BODY_BYTES)
            query: bytes = scope.get("query_string", b"")
            url = f"{request.origin}{request.path}" + (f"?{query.decode('latin-1')}" if query else "")
            value = request_value(scope["method"], url, query, scope["headers"], params, body)
            return answer_of(await self._host.call(route.function, value))
        except ForbiddenError as error:
            return Answer(403, str(error).encode(), (("content-type", "text/plain; charset=utf-8"),))
        except PayloadTooLargeError:
            return Answer(413)
        except ClientGoneError:
            return Answer(400)
        except Exception:  # noqa: BLE001  (the border to user code)
            _log.exception("%s failed", route.function.where)
            return Answer(500)

    def _may(self, request: Request, route: HttpRoute) -> bool:
        """Ask for the key that the route's level wants; where no keys are asked for, this machine is the border."""
        keys = self._host.keys
        if keys is None:
            check_host(request.headers)
            check_page(request.headers)
            return True
        return keys.opens(given_key(request.headers, request.query), route.level, route.function.name)


async def _send(answer: Answer, method: str, send: Send) -> None:
    if answer.status in _WITHOUT_BODY:
        answer = Answer(answer.status, b"", tuple(each for each in answer.headers if each[0] != "content-type"))
    headers = [
        (name.encode("latin-1", "replace"), value.encode("latin-1", "replace")) for name, value in answer.headers
    ]
    if answer.status not in _WITHOUT_BODY and not any(name == b"content-length" for name, _ in headers):
        headers.append((b"content-length", str(len(answer.body)).encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if method == "HEAD" else answer.body})
