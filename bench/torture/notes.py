"""What activities leave behind to show that they ran: a line in a file, which outlives their process."""

import json
import os
import time
from collections import defaultdict
from pathlib import Path

TOKEN, AT = "token", "at"


class Notes:
    """Writes the notes of one process. Every note is one `write` to a file opened for appending: `kill -9` tears none."""

    def __init__(self, folder: Path) -> None:
        self._file = os.open(folder / f"{time.time_ns()}-{os.getpid()}.notes", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._count = 0

    def write(self, instance_id: str, step: int) -> dict:
        """Note that an activity of the instance runs; what is returned is in the note, and unique."""
        self._count += 1
        note = {TOKEN: f"{os.getpid()}-{time.time_ns()}-{self._count}", AT: time.time()}
        os.write(self._file, (json.dumps([instance_id, step, note]) + "\n").encode())
        return note


class NoteReader:
    """Reads the notes of all processes; what has been read is not read again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[Path, int] = {}
        self._notes: dict[str, list[tuple[int, dict]]] = defaultdict(list)

    def of(self, instance_ids: list[str]) -> dict[str, list[tuple[int, dict]]]:
        """Steps and notes of these instances, in the order in which they were made in each process."""
        for path in sorted(self._folder.glob("*.notes")):
            with path.open("rb") as file:
                file.seek(self._read.get(path, 0))
                for line in file:
                    instance_id, step, note = json.loads(line)
                    self._notes[instance_id].append((step, note))
                self._read[path] = file.tell()
        return {instance_id: self._notes.get(instance_id, []) for instance_id in instance_ids}

    def forget(self, instance_ids: list[str]) -> None:
        for instance_id in instance_ids:
            self._notes.pop(instance_id, None)


def mend(folder: Path, name: str) -> None:
    """Let the activities of that name succeed from now on."""
    (folder / f"{name}.mended").touch()


def is_mended(folder: Path, name: str) -> bool:
    return (folder / f"{name}.mended").exists()
