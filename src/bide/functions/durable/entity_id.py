"""How an entity is named."""


class EntityId:
    """An entity: `name` of the entity function, and `key`, which tells it from others of that function."""

    def __init__(self, name: str, key: str) -> None:
        if not name:
            raise ValueError("Entity name cannot be empty")
        if not key:
            raise ValueError("Entity key cannot be empty")
        self.name = name.lower()
        self.key = key

    def __str__(self) -> str:
        return f"@{self.name}@{self.key}"

    def __repr__(self) -> str:
        return f"EntityId({self.name!r}, {self.key!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, EntityId) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    @staticmethod
    def get_scheduler_id(entity_id: "EntityId") -> str:
        """Give the id under which the entity is stored."""
        return str(entity_id)

    @staticmethod
    def get_entity_id(scheduler_id: str) -> "EntityId":
        """Read `@name@key`."""
        _, name, key = scheduler_id.split("@", 2)
        return EntityId(name, key)

    @staticmethod
    def get_entity_id_url_path(entity_id: "EntityId") -> str:
        return f"entities/{entity_id.name}/{entity_id.key}"
