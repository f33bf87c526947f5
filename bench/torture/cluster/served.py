"""The app under torture, for `bide serve bench.torture.cluster.served`; BIDE_TORTURE_NOTES is the folder for its notes."""

import os
from functools import partial
from pathlib import Path

from bench.torture.app import add_activities, app
from bench.torture.notes import Notes, is_mended

__all__ = ["app"]

_folder = Path(os.environ["BIDE_TORTURE_NOTES"])
add_activities(Notes(_folder).write, partial(is_mended, _folder))
