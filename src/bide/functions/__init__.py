"""Hosts Azure Functions apps written for Durable Functions, as they are.

`load_function_app` reads an app's folder: `settings`, `requirements`, `indexing`. `durable` is what the app finds
under the name `azure.durable_functions`. `host` runs the app's functions beside a hub: HTTP, timer and queue triggers.
"""

from importlib import import_module

from bide.errors import ConfigurationError

try:
    import_module("azure.functions")
except ImportError as error:
    raise ConfigurationError(
        "To run an Azure Functions app bide needs the package azure-functions: pip install 'bide[azure]'"
    ) from error
