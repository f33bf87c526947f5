"""What an application is made of: orchestrators and activities under their names."""

from bide.app.registry import Activity, App, Blueprint, RegisteredOrchestrator

__all__ = ["Activity", "App", "Blueprint", "RegisteredOrchestrator"]
