"""What a gradient check found: facts in a few lines, and the same as fields."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from npsoftmax import html
from npsoftmax.gradcheck.numeric import Slope


@dataclass(frozen=True)
class WrongElement:
    """One element, or one direction (index None), where analytic and numeric gradient differ."""

    index: tuple[int, ...] | None
    analytic: float
    slope: Slope

    @property
    def numeric(self) -> float:
        return self.slope.value

    @property
    def relative_error(self) -> float:
        """|analytic - numeric| over the larger of the two."""
        return abs(self.analytic - self.numeric) / max(abs(self.analytic), abs(self.numeric))

    @property
    def allowed(self) -> float:
        """The relative error that would have passed."""
        return self.slope.tolerance(self.analytic) / max(abs(self.analytic), abs(self.numeric))

    def __str__(self) -> str:
        return (
            f"analytic {self.analytic:+.8g}, numeric {self.numeric:+.8g}, "
            f"relative error {self.relative_error:.1e} (allowed {self.allowed:.1e})"
        )


def place(index: tuple[int, ...] | None) -> str:
    """[2, 1]; nothing for a single number, or for a direction."""
    return f"[{', '.join(map(str, index))}]" if index else ""


@dataclass
class TensorReport:
    """One gradient: of `size` elements `checked` were compared, `skipped` sit at a kink, rounding hides `hidden`.

    At a kink the gradient is held between the slopes on both sides. `directions` is the number of random directions
    compared; one that meets a kink, or that rounding hides, is not.
    """

    name: str
    size: int = 0
    directions: int = 0
    checked: int = 0
    skipped: int = 0
    hidden: int = 0
    faint: int = 0  # of those checked: known to be small beside the others, but not how small
    wrong: int = 0  # of those checked
    used: float = 0.0  # the largest share of the tolerance that an element or a direction uses
    first: WrongElement | None = None
    direction: WrongElement | None = None
    ratio: float | None = None  # analytic / numeric, where it is the same in every wrong element
    problems: list[str] = field(default_factory=list)  # missing, shape, dtype, not finite, not to be measured

    @property
    def label(self) -> str:
        """The gradient of `thing` is `dthing`: 'fc1.w' -> 'fc1.dw'."""
        path, dot, last = self.name.rpartition(".")
        return f"{path}{dot}d{last}"

    @property
    def ok(self) -> bool:
        return not self.problems and self.first is None and self.direction is None

    def facts(self) -> list[str]:
        """What is wrong with it, a line each."""
        found = list(self.problems)
        if self.first is not None:
            found.append(f"{self.wrong} of {self.checked} elements compared are wrong")
            found.append(f"first wrong element  {self.label}{place(self.first.index)}  {self.first}")
        elif self.direction is not None:
            agree = f"all {self.checked} elements compared agree, but " if self.checked else ""
            found.append(f"{agree}along a random direction  {self.direction}")
        if self.ratio is not None:
            found.append(f"analytic / numeric = {self.ratio:.6g} in every wrong element")
        return found

    def extent(self) -> str:
        """How much was compared."""
        kinks = f", {self.skipped} at a kink skipped" if self.skipped else ""
        hidden = f", {self.hidden} hidden by rounding" if self.hidden else ""
        faint = f", {self.faint} of them near rounding" if self.faint else ""
        return f"{self.directions} directions, {self.checked} of {self.size} elements{faint}{kinks}{hidden}"


@dataclass
class Report:
    """The outcome for a pair, layer, head or model: `str(report)` is its text, `assert_ok()` its verdict."""

    name: str
    tensors: list[TensorReport] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)  # of the whole: noise that does not repeat, extra names

    @property
    def ok(self) -> bool:
        return not self.problems and all(t.ok for t in self.tensors)

    @property
    def worst(self) -> float:
        """The largest share of its tolerance that any number uses; inf where something cannot be compared."""
        if self.problems or any(t.problems for t in self.tensors):
            return math.inf
        return max((t.used for t in self.tensors), default=0.0)

    def __getitem__(self, name: str) -> TensorReport:
        """The report of the gradient of `name`, such as 'x' or 'fc1.w'."""
        return {t.name: t for t in self.tensors}[name]

    def __str__(self) -> str:
        width = max((len(t.label) for t in self.tensors), default=0)
        verdict = f"ok, worst uses {self.worst:.2g} of its tolerance" if self.ok else "WRONG"
        lines = [f"gradients of {self.name}: {verdict}", *(f"    {p}" for p in self.problems)]
        for t in self.tensors:
            lines.append(f"  {t.label:{width}}  {'ok   ' if t.ok else 'WRONG'}  {t.extent()}")
            lines += [f"      {fact}" for fact in t.facts()]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows = [(t.label, "ok" if t.ok else "WRONG", t.extent(), "; ".join(t.facts())) for t in self.tensors]
        head, *problems = str(self).split("\n")[: 1 + len(self.problems)]
        return html.titled(
            head, *map(html.paragraph, problems), html.table(("gradient", "", "compared", "found"), rows)
        )

    def assert_ok(self) -> Report:
        """The report itself; raises AssertionError with its text if anything is wrong."""
        if not self.ok:
            raise AssertionError(str(self))
        return self
