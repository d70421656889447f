"""How many steps a budget comes to, and after how many of them validation looks."""

from __future__ import annotations

from dataclasses import dataclass

from mofang.core.errors import MofangError

TOKENS_PER_WEIGHT = 20  # compute-optimal for a network trained once (Hoffmann et al. 2022)
EPOCHS_MOST = 20  # without a budget: repeated more often, texts are learnt by heart
STEPS_LEAST = 10
REACHED = 0.35  # of the machine's best rate, as measured for small networks
SPARE = 3  # with a limit of seconds alone so many times the expected steps are planned, and the loop shortens them


@dataclass(frozen=True)
class Budget:
    """What was given: at most one of steps and tokens, and perhaps seconds; 0 is not given."""

    steps: int
    tokens: int
    seconds: float


@dataclass(frozen=True)
class Course:
    """``steps`` in at most ``epochs``, validated after every ``judge_steps``; a step is expected to take ``step_s``."""

    steps: int
    epochs: int
    judge_steps: int
    step_s: float

    @property
    def seconds(self) -> float:
        """What all steps are expected to take."""
        return self.steps * self.step_s

    @property
    def rounds(self) -> int:
        """How often validation looks."""
        return max(1, self.steps // self.judge_steps)


def course_of(budget: Budget, *, positions: int, epoch_tokens: int, parameters: int, rate: float, checks: int) -> Course:
    """The steps of a budget on rows of ``epoch_tokens`` positions, ``positions`` a step; ``rate`` is the machine's.

    Refused where the time allows too few steps to learn anything.
    """
    if budget.steps and budget.tokens:
        raise MofangError("budget-twice", steps=budget.steps, tokens=budget.tokens)
    step_s = 6 * parameters * positions / (REACHED * rate)
    epoch = max(1, -(-epoch_tokens // positions))
    wanted = budget.steps or -(-budget.tokens // positions)
    if budget.seconds:
        possible = int(budget.seconds / step_s)
        if possible < STEPS_LEAST:
            raise MofangError("pretraining-budget", budget_s=round(budget.seconds), parameters=f"{parameters / 1e6:.1f}",
                              possible=possible, needs_s=round(STEPS_LEAST * step_s) + 1)
        wanted = wanted or SPARE * possible
        often = min(wanted, possible) // checks
    else:
        wanted = wanted or min(-(-TOKENS_PER_WEIGHT * parameters // positions), EPOCHS_MOST * epoch)
        often = wanted // checks
    return Course(wanted, -(-wanted // epoch) + 1, max(1, often), step_s)
