"""Route templates of HTTP triggers, as ASP.NET has them: `{name}`, `{name?}`, `{name:int}`, `{name=default}`, `{*rest}`."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import unquote
from uuid import UUID

from bide.errors import ConfigurationError

_PARAMETER = re.compile(r"\{(\*{0,2})(\w+)((?::[^}=?]+)?)(=[^}?]*)?(\?)?\}")


def _is_guid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def _matches(pattern: str) -> Callable[[str], bool]:
    compiled = re.compile(pattern, re.IGNORECASE)
    return lambda text: compiled.fullmatch(text) is not None


_CONSTRAINTS: dict[str, Callable[[str], bool]] = {
    "int": _matches(r"[+-]?\d{1,10}"),
    "long": _matches(r"[+-]?\d{1,19}"),
    "alpha": _matches(r"[a-z]*"),
    "bool": _matches(r"true|false"),
    "guid": _is_guid,
    "datetime": _matches(r"\d{4}-\d\d?-\d\d?([ T].*)?|\d\d?/\d\d?/\d{4}.*"),
    "decimal": _matches(r"[+-]?\d+(\.\d+)?"),
    "double": _matches(r"[+-]?\d+(\.\d+)?(e[+-]?\d+)?"),
    "float": _matches(r"[+-]?\d+(\.\d+)?(e[+-]?\d+)?"),
    "required": _matches(r".+"),
}
_WITH_ARGUMENT: dict[str, Callable[[str, str], bool]] = {
    "length": lambda text, argument: len(text) in _bounds(argument),
    "minlength": lambda text, argument: len(text) >= int(argument),
    "maxlength": lambda text, argument: len(text) <= int(argument),
    "min": lambda text, argument: _CONSTRAINTS["long"](text) and int(text) >= int(argument),
    "max": lambda text, argument: _CONSTRAINTS["long"](text) and int(text) <= int(argument),
    "range": lambda text, argument: _CONSTRAINTS["long"](text) and int(text) in _bounds(argument),
    "regex": lambda text, argument: re.search(argument, text, re.IGNORECASE) is not None,
}


def _bounds(argument: str) -> range:
    low, _, high = argument.partition(",")
    return range(int(low), int(high or low) + 1)


@dataclass(frozen=True)
class Segment:
    """One segment of a template: literal text, or a parameter (`text` is its name)."""

    text: str
    is_parameter: bool = False
    is_rest: bool = False
    is_optional: bool = False
    default: str | None = None
    constraints: tuple[str, ...] = ()

    @property
    def precedence(self) -> int:
        """Lower ones are tried first: literals, constrained parameters, parameters, the rest."""
        if not self.is_parameter:
            return 0
        return 3 if self.is_rest else 1 if self.constraints else 2

    @property
    def may_be_absent(self) -> bool:
        return self.is_rest or self.is_optional or self.default is not None

    def accepts(self, value: str) -> bool:
        return all(_accepts(constraint, value) for constraint in self.constraints)


@dataclass(frozen=True)
class Template:
    """A parsed route template."""

    segments: tuple[Segment, ...]

    @cached_property
    def precedence(self) -> tuple[int, ...]:
        return tuple(segment.precedence for segment in self.segments)

    def match(self, path: str) -> dict[str, str] | None:
        """Match a path (still percent-encoded, without a slash in front); the parameters that have a value, or None."""
        parts = path.rstrip("/").split("/") if path.rstrip("/") else []
        values: dict[str, str] = {}
        for number, segment in enumerate(self.segments):
            if segment.is_rest:
                rest = unquote("/".join(parts[number:]))
                return values | ({segment.text: rest} if rest else {})
            if number >= len(parts):
                if not segment.may_be_absent:
                    return None
                if segment.default is not None:
                    values[segment.text] = segment.default
                continue
            part = unquote(parts[number])
            if not segment.is_parameter:
                if part.casefold() != segment.text.casefold():
                    return None
            elif not part or not segment.accepts(part):
                return None
            else:
                values[segment.text] = part
        return values if len(parts) <= len(self.segments) else None


def parse_template(text: str) -> Template:
    """Parse a template. Raises `ConfigurationError` for one that cannot be understood."""
    return Template(tuple(_parse_segment(part, text) for part in text.strip("/").split("/") if part))


def _parse_segment(part: str, template: str) -> Segment:
    if "{" not in part and "}" not in part:
        return Segment(part)
    match = _PARAMETER.fullmatch(part)
    if match is None:
        raise ConfigurationError(
            f"route {template!r}: bide cannot read {part!r}; a segment is literal text or one parameter, as "
            "{name}, {name:int}, {name?}, {name=default} or {*rest}."
        )
    stars, name, constraints, default, optional = match.groups()
    words = tuple(word for word in re.split(r":(?![^(]*\))", constraints) if word)
    for word in words:
        _check_constraint(word, template)
    return Segment(
        name,
        is_parameter=True,
        is_rest=bool(stars),
        is_optional=optional is not None,
        default=default[1:] if default else None,
        constraints=words,
    )


def _check_constraint(word: str, template: str) -> None:
    kind, _, argument = word.rstrip(")").partition("(")
    if kind not in _CONSTRAINTS and kind not in _WITH_ARGUMENT:
        known = ", ".join([*_CONSTRAINTS, *_WITH_ARGUMENT])
        raise ConfigurationError(f"route {template!r}: there is no constraint {kind!r}; there are {known}.")
    try:
        _accepts(word, "1")
    except (ValueError, re.error) as error:
        raise ConfigurationError(f"route {template!r}: {argument!r} does not fit the constraint {kind!r}.") from error


def _accepts(constraint: str, value: str) -> bool:
    kind, has_argument, argument = constraint.partition("(")
    if has_argument:
        return _WITH_ARGUMENT[kind](value, argument.removesuffix(")"))
    return _CONSTRAINTS[kind](value)
