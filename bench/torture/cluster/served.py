"""The app under torture, for `bide serve bench.torture.cluster.served`; BIDE_TORTURE_NOTES is the folder for its notes."""

import os
from pathlib import Path

from bench.torture.app import add_activities, app
from bench.torture.notes import Notes

__all__ = ["app"]

add_activities(Notes(Path(os.environ["BIDE_TORTURE_NOTES"])).write)
