"""What an application is made of: orchestrators, activities and entities under their names."""

from bide.app.entities import Entity
from bide.app.registry import Activity, App, Blueprint, RegisteredOrchestrator

__all__ = ["Activity", "App", "Blueprint", "Entity", "RegisteredOrchestrator"]
