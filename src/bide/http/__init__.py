"""The HTTP management API of Durable Functions, and what bide adds to it.

Handlers parse, call one verb of the client, and render: `routes` has them, `hot` the one that must be fast. `payloads` and
`urls` map values to values; `auth` decides who may; `errors` says how an error looks; `openapi` describes it all;
`server` listens. Rules are those of the extension's `HttpApiHandler.cs`; where versions 2 and 3 of it differ,
docs/http-api.md says what was chosen.
"""
