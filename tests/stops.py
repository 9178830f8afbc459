"""A request to stop at a chosen moment."""

from __future__ import annotations

from longview.engine.stop import StopFlag


class StopAfter(StopFlag):
    """Becomes set after so many looks, as a signal at that moment would."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self.looks = looks

    def __bool__(self) -> bool:
        self.looks -= 1
        return self.looks < 0
