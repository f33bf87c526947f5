"""The torture on several nodes: processes of `bide serve` on one PostgreSQL database.

`driver` starts the nodes and does things to them: kill, stop, pause, cut off from the database with the `proxy`. The stories go
on at whichever node answers, and are checked as those of a single hub. `database` looks at the tables from outside: who owns
what, who has committed when, and whether what is left agrees with itself. `python -m bench.torture.cluster` is the long mode.
"""
