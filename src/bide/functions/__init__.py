"""Hosts Azure Functions apps written for Durable Functions, as they are.

`load_function_app` reads an app's folder: `settings`, `requirements`, `indexing`. `durable` is what the app finds
under the name `azure.durable_functions`. `host` runs the app's functions beside a hub: HTTP, timer and queue triggers.
"""

from bide.errors import ConfigurationError

try:
    import azure.functions  # noqa: F401
except ImportError as error:
    raise ConfigurationError(
        "To run an Azure Functions app bide needs the package azure-functions: pip install 'bide[azure]'"
    ) from error
