"""Kills bide over and over, and proves that nothing it had accepted was lost.

`driver` runs a hub as a process of its own (`worker`) on one store, talks to it over HTTP, and ends it: at random moments, or at
one of the named points of `failpoints`. Meanwhile the `stories` go on: each brings some instances of the `app` into being
and wants something of them, over as many deaths as there may be. What was asked, and what was answered, is written to the
`journal`, outside of the process that dies; activities write `notes` that they ran. When a story has ended, the `checker`
holds what is in the store against both. `python -m bench.torture` is the long mode.
"""
