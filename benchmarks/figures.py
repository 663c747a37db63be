"""Figures of benchmarks: what was measured beside its goal."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One thing that was measured, and what it was to be."""

    name: str
    value: float
    goal: float | None
    unit: str = "s"
    exact: bool = False
    cpu_s: float | None = None
    """Processor time of it: on a machine that does other work too, the clock says little."""

    @property
    def missed(self) -> bool:
        """Whether the goal was not reached."""
        return self.goal is not None and (self.value != self.goal if self.exact else self.value > self.goal)

    def line(self) -> str:
        """The figure as it is printed."""
        goal = "" if self.goal is None else f"  (goal {'' if self.exact else '<= '}{self.goal:g})"
        cpu = "" if self.cpu_s is None else f", CPU {self.cpu_s:.2f} s"
        return f"{self.name:<44} {self.value:9.2f} {self.unit}{cpu}{goal}{'  MISSED' if self.missed else ''}"
