"""Wall time of the stages of one image."""

from time import perf_counter


class StageTimer:
    """Wall time by stage [ms]."""

    def __init__(self) -> None:
        self._start = self._last = perf_counter()
        self._laps: dict[str, float] = {}

    def lap(self, stage: str) -> None:
        """Add the time since the last lap to a stage."""
        now = perf_counter()
        self._laps[stage] = self._laps.pop(stage, 0.0) + (now - self._last) * 1e3
        self._last = now

    def finish(self) -> dict[str, float]:
        """Return the stages, the one that ended last behind the others, and the total time."""
        return {**self._laps, 'total': (perf_counter() - self._start) * 1e3}
