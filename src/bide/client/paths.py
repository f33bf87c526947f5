"""Paths and headers of the HTTP API that both of its ends need."""

BASE = "/runtime/webhooks/durabletask"
"""Where Durable Functions mounts its HTTP API."""
KEY_HEADER = "x-functions-key"
TOKEN_HEADER = "x-ms-continuation-token"  # noqa: S105  (a page token, as Durable Functions names it)
EVENT_ID_HEADER = "idempotency-key"
DUPLICATE_HEADER = "x-bide-duplicate"
ERROR_HEADER = "x-bide-error"
"""Class name of the error, for our own client: some answers of Durable Functions have no body."""
LONGEST_WAIT_SECONDS = 55.0
"""A long poll ends after this time at the latest: many proxies cut connections that are silent for a minute."""
HOSTED_RPC = "/durabletask"
"""Below it, under a name that is a secret, the API for the clients inside a hosted app."""
