"""The rules of an orchestration: plain Python that touches nothing.

History events go in, history events and a `Commit` come out. Nothing here awaits, reads a clock, draws a random number,
logs, or knows that a store exists; time comes from the history. How the parts fit:

`tasks` are what an orchestrator yields; `mailbox` holds events that no wait has claimed; `execution` drives the user's
generator or coroutine, live and in replay alike; `context` is what the orchestrator sees; `instance` is the life of an
instance: it turns messages into history events, feeds them to the execution and sums a turn up as a `Commit`.

`entities` is the same for an entity, `batch` is how its operations are run, `entity_context` what they see; `locks` is what an
orchestrator holds of them.
"""
