"""Keeps an act on this machine until it is recorded: what was begun must be known even if this process ends."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from wso2_provisioning.switch.acts import KillEvent


class EventJournal:
    """One file for each act that is not recorded yet.

    Args:
        folder: where they are.
        warn: told, once, that nothing can be kept there; the act goes on all the same.
    """

    def __init__(self, folder: Path, warn: Callable[[str], None]) -> None:
        self._folder = folder.absolute()
        self._warn = warn
        self._is_usable = True

    def path_of(self, act_id: str) -> Path:
        """Where an act is kept."""
        return self._folder / f"{act_id}.json"

    def save(self, act: KillEvent) -> None:
        """Write down how far an act is."""
        if not self._is_usable:
            return
        path = self.path_of(act.event_id)
        draft = path.with_suffix(".draft")
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with draft.open("w", encoding="utf-8") as file:
                json.dump(act.to_json(), file)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        except OSError as error:
            self._is_usable = False
            self._warn(
                f"{self._folder} can not be written ({error.strerror}): what is done now is only recorded at the end"
            )

    def contains(self, act: KillEvent) -> bool:
        """Tell whether an act is written down here."""
        return self.path_of(act.event_id).exists()

    def remove(self, act_id: str) -> None:
        """Remove an act that is recorded."""
        self.path_of(act_id).unlink(missing_ok=True)

    def list_unrecorded(self) -> list[dict[str, Any]]:
        """Acts of earlier runs that are not recorded, the newest first."""
        acts: list[dict[str, Any]] = []
        for path in self._folder.glob("*.json"):
            try:
                act = cast("object", json.loads(path.read_text(encoding="utf-8")))
            except (OSError, ValueError):
                self._warn(f"{path} can not be read")
                continue
            if isinstance(act, dict):
                acts.append(cast("dict[str, Any]", act))
        return sorted(acts, key=lambda act: str(act.get("started_at")), reverse=True)
