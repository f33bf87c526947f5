"""`Hub`: an app, a store and everything between them, running inside this process's event loop."""

from collections.abc import Callable
from typing import Any

from bide.runtime.engine import Engine

_BODY_MARGIN = 1024
"""A payload that is too large by a little is refused with the error that names it, not as a body."""


class Hub(Engine):
    """Runs an app on a store.

    ::

        async with bide.Hub(app, store="sqlite:///bide.db") as hub:
            instance_id = await hub.client.start_new(permit, client_input="A-17")

    `store` is a URL (`sqlite:///file.db`, `postgresql://…`, `memory:`) or a `Store`. `clock` replaces the machine's clock, for
    tests. `max_payload_bytes` bounds one input, result or event as JSON text; `max_resident` how many instances stay in
    memory between turns; `max_backlog` how many requests may wait, beyond which they are refused with `HubBusyError`;
    `activity_threads` how many plain functions (activities, entities) run at a time on threads; `activity_processes` how many
    worker processes run activities with `process=True` (one for each core; 0: they run on threads, as in a debugger one
    wants it). With `retention` ended instances and dead letters older than that are removed. Nothing but speed depends on
    `max_resident`.

    On PostgreSQL the hub is one node of several: `node` is its name (the host and process otherwise), `role` what it takes on
    (`NodeRole`), and its share goes to the others when they have not heard of it for the length of `lease`.
    """

    def asgi(self, *, key: str | None = None, opens: Callable[[str], bool] | None = None) -> Any:
        """Return an ASGI app with the HTTP API, to serve or to mount, also before the hub runs.

        Requests need `key` when one is given; without one only those to localhost are answered. Where more than one key is
        good (while one is replaced by another), `opens` says which, and `key` is the one that management URLs show.
        """
        from bide.http.routes import create_app  # noqa: PLC0415  (only for those who serve)

        return create_app(
            lambda: self.client,
            key=key,
            opens=opens,
            hub_name=self.name,
            max_body_bytes=self.max_payload_bytes + _BODY_MARGIN,
        )
