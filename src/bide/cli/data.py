"""Reads arguments that are data: as they stand, from a file (`@file.json`) or from standard input (`-`)."""

import sys
from pathlib import Path

import msgspec

from bide.errors import ConfigurationError, InvalidInputError


def read_data(argument: str | None) -> msgspec.Raw | None:
    """Return the checked JSON of an argument, as it was written; None for none.

    Raises `InvalidInputError` that shows how to write a string, `ConfigurationError` for a file that cannot be read.
    """
    if argument is None:
        return None
    text = read_text(argument)
    try:
        msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        advice = "" if argument[0] in "@-{[" else f". A string needs quotes: '\"{argument}\"'"
        raise InvalidInputError(f"{argument!r} is not JSON: {error}{advice}") from error
    return msgspec.Raw(text.strip().encode())


def read_text(argument: str) -> str:
    """Return the text of an argument. Raises `ConfigurationError` for a file that cannot be read."""
    if argument == "-":
        return sys.stdin.read()
    if not argument.startswith("@"):
        return argument
    try:
        return Path(argument[1:]).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"Cannot read {argument[1:]}: {error}") from error
