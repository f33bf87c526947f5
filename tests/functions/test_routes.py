"""Route templates of HTTP triggers, as tables."""

import pytest

from bide.errors import ConfigurationError
from bide.functions.routes import parse_template


@pytest.mark.parametrize(
    ("template", "path", "expected"),
    [
        ("start", "start", {}),
        ("start", "START/", {}),
        ("start", "stop", None),
        ("start", "start/x", None),
        ("a/{x}", "a/b", {"x": "b"}),
        ("a/{x}", "a/b%2Fc", {"x": "b/c"}),
        ("a/{x}", "a/", None),
        ("a/{x?}", "a", {}),
        ("a/{x?}", "a/b", {"x": "b"}),
        ("a/{x=7}", "a", {"x": "7"}),
        ("a/{x:int}", "a/-12", {"x": "-12"}),
        ("a/{x:int}", "a/b", None),
        ("a/{x:int?}", "a", {}),
        ("a/{x:guid}", "a/0f8fad5b-d9cb-469f-a165-70867728950e", {"x": "0f8fad5b-d9cb-469f-a165-70867728950e"}),
        ("a/{x:guid}", "a/1", None),
        ("a/{x:alpha:length(2,3)}", "a/abc", {"x": "abc"}),
        ("a/{x:alpha:length(2,3)}", "a/abcd", None),
        ("a/{x:range(1,5)}", "a/5", {"x": "5"}),
        ("a/{x:range(1,5)}", "a/6", None),
        ("a/{x:regex(^\\d{3}$)}", "a/123", None),  # braces inside of a segment: not understood, see below
        ("a/{x:regex(^[0-9]+$)}", "a/123", {"x": "123"}),
        ("a/{x:bool}", "a/True", {"x": "True"}),
        ("{*rest}", "a/b/c", {"rest": "a/b/c"}),
        ("{*rest}", "", {}),
        ("/a/{**rest}", "a/b%20c", {"rest": "b c"}),
        ("", "", {}),
    ],
)
def test_matching(template, path, expected):
    try:
        assert parse_template(template).match(path) == expected
    except ConfigurationError:
        assert expected is None


def test_the_most_specific_comes_first():
    texts = ["{*rest}", "{x}/b", "a/{x}", "a/{x:int}", "a/b"]
    reversed_texts = texts[::-1]
    ordered = sorted(reversed_texts, key=lambda text: parse_template(text).precedence)
    assert ordered == ["a/b", "a/{x:int}", "a/{x}", "{x}/b", "{*rest}"]


@pytest.mark.parametrize("template", ["a/{", "a-{x}", "{x:nosuch}", "{x:length(a)}", "{x:regex([)}", "{}", "{x:}"])
def test_what_cannot_be_read_is_named(template):
    with pytest.raises(ConfigurationError, match="route"):
        parse_template(template)
