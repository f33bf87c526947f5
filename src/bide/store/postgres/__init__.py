"""The store that several nodes share: one schema of a PostgreSQL database.

`store`, `queues`, `settings`, `membership` and `activities` have the verbs, on top of `access`; `batch` turns a `Batch` into
one SQL statement, which checks the leases; `writer` runs them in order; `notices` hears what other nodes do; `connection` opens
connections and tells driver errors apart; `schema` brings tables up to date; `options` reads the URL.
"""

from bide.store.postgres.store import PostgresStore

__all__ = ["PostgresStore"]
