"""What can be an entity, and what is said when something cannot."""

from dataclasses import dataclass

import msgspec
import pytest

from bide import App, Blueprint, ConfigurationError, EntityContext


class Plain:
    def get(self): ...


@dataclass
class Required:
    value: int


@dataclass
class Greedy:
    def add(self, first, second): ...


@dataclass
class Folded:
    def add(self): ...

    def ADD(self): ...  # noqa: N802


class Fine(msgspec.Struct):
    value: int = 0

    def add(self, amount: int, context: EntityContext, unused: int = 1): ...

    @property
    def double(self):
        return self.value * 2

    @staticmethod
    def helper(): ...


def generator(context):
    yield


def nothing(): ...


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (Plain, "must be a dataclass or a msgspec.Struct"),
        (Required, "give each field a default"),
        (Greedy, "wants 2 arguments"),
        (Folded, "'ADD' and 'add'"),
        (generator, "is a generator"),
        (nothing, "must take the context"),
    ],
)
def test_what_cannot_be_an_entity(target, words):
    with pytest.raises(ConfigurationError, match=words):
        App().entity(target)


@pytest.mark.parametrize("name", ["a@b", "a/b", "a\n"])
def test_names_that_cannot_be(name):
    with pytest.raises(ConfigurationError):
        App().entity(name=name)(lambda context: None)


def test_names_are_the_same_in_any_case():
    """Registered twice is an error, the same thing again is not; a blueprint brings its entities along."""
    blueprint = Blueprint()
    blueprint.entity(name="Counter")(Fine)
    app = App()
    app.register_blueprint(blueprint)
    app.register_blueprint(blueprint)
    assert list(app.entities) == ["counter"]
    with pytest.raises(ConfigurationError, match="already an entity named 'counter'"):
        app.entity(name="COUNTER")(lambda context: None)


def test_operations_are_public_methods():
    """Neither properties nor static methods, nor what is inherited from Struct."""
    app = App()
    app.entity(Fine)
    assert list(app.entities["fine"].methods) == ["add"]
