"""The machine room: a loop over one mailbox, and the duties around it.

`partition` is the loop; `jobs` runs user functions, those of `activities` and of entities' `batches`; `timers` wakes
instances; `retention` removes old ones; `ids` and `clock` are the only places that draw ids and read the time; `engine`
puts them together and `local` is the client in the same process.
"""
