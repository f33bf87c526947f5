"""The released `azure-functions-durable` 1.x, installed beside and unchanged, on bide's engine.

For apps that reach into the SDK's insides. All others are served by bide's own module (`bide.functions.durable`), which
needs no such package. Only one of the two can be in a process, so nothing here imports the SDK before it is used.

The SDK's clients need nothing from here: the text of their binding points them at the host (`durable.bridge`).
"""

from bide.functions.sdk.entity import adapt_entity
from bide.functions.sdk.orchestrator import adapt
from bide.functions.sdk.package import available, require

__all__ = ["adapt", "adapt_entity", "available", "require"]
