"""The `bide` command.

`serve` runs an app; `instances`, `entities` and `queue` have a command for every verb of the client; `store` looks after
stores, `keys` after access keys. `target` says where a command goes, `render` how its answer looks, `exits` with which
code it ends.
"""

import sys
from collections.abc import Sequence

from cyclopts import App as Commands
from cyclopts import Parameter

import bide
from bide.cli import instances
from bide.cli.entities import entity, list_entities
from bide.cli.exits import Exit, exit_code
from bide.cli.keys import keys
from bide.cli.nodes import list_nodes
from bide.cli.queue import queue
from bide.cli.serve import serve_app
from bide.cli.store import db, replay
from bide.errors import BideError

commands = Commands(
    name="bide",
    help="Durable orchestrations that wait for external events.",
    help_epilogue=(
        "Exit codes: 0 done; 1 the orchestration did not complete, a replay differs, or a check found violations; "
        "2 wrong arguments or data; 3 no such instance or entity; 4 wrong state; "
        "5 hub not reachable or key wrong; 6 store error; 130 interrupted."
    ),
    version=bide.__version__,
    version_flags=["--version"],
    help_format="plaintext",
    default_parameter=Parameter(negative=()),
)
commands.command(serve_app, name="serve")
instances.register(commands)
commands.command(list_entities, name="entities")
commands.command(entity)
commands.command(replay, name="replay")
commands.command(list_nodes, name="nodes")
commands.command(queue)
commands.command(keys)
commands.command(db)
commands.register_install_completion_command()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and exit with its code; an error of ours is one line on standard error."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    try:
        result = commands(arguments, exit_on_error=False, result_action="return_value")
    except BideError as error:
        sys.stderr.write(f"bide: {error}\n")
        return exit_code(error)
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except TimeoutError as error:
        sys.stderr.write(f"bide: {error}\n")
        return Exit.FAILED
    except Exception as error:
        if type(error).__module__.startswith("cyclopts"):
            return Exit.USAGE  # cyclopts has said what is wrong
        raise
    return int(result or 0)
