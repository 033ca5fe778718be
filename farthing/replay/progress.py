"""How far a replay is, as progress bars; or not at all, for machines."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress


class Silent:
    """Shows nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return None

    def stage(self, name: str, total: int | None) -> None:
        """A stage begins."""

    def advance(self, steps: int) -> None:
        """So many steps of it are done."""


class Bars(Silent):
    """One bar for each stage."""

    def __init__(self, console: Console) -> None:
        self._bars = RichProgress(
            TextColumn("{task.description:34}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
        )
        self._current: TaskID | None = None
        self._steps = 0

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._finish()
        self._bars.stop()

    def stage(self, name: str, total: int | None) -> None:
        """The bar before is done; a new one begins."""
        self._finish()
        self._current = self._bars.add_task(name, total=total)
        self._steps = 0

    def advance(self, steps: int) -> None:
        """So many steps are done."""
        if self._current is not None:
            self._steps += steps
            self._bars.advance(self._current, steps)

    def _finish(self) -> None:
        # A stage whose length was not known ends where it stopped.
        if self._current is not None:
            self._bars.update(self._current, total=self._steps)
