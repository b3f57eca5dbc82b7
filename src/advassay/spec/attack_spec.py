"""What an attack is, in words: `PGD` (one amplitude) and `Arm` (a grid of amplitudes and step sizes)."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection
from fractions import Fraction
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator

from advassay.errors import AttackError, EpsilonError
from advassay.identity import canonical_float
from advassay.spec.attack_components import UPDATE_RULES, Loss, Update
from advassay.spec.base_model import Frozen, plain_number, plain_numbers

Norm = Literal["linf", "l2"]


Precision = Literal["exact", "fast32", "fast"]


def check_complete(kind: str, declared: Any, registered: Collection[str]) -> None:
    """Raise NotImplementedError unless what is declared (a Literal) and what is registered are the same names.

    Called where something is registered: a name declared in one place only is refused when the program is loaded,
    and never runs as another one.
    """
    if odd := set(get_args(declared)) ^ set(registered):
        raise NotImplementedError(f"{kind}: declared or written in one place only: {', '.join(sorted(odd))}")


def parse_amplitude(value: Any) -> float:
    """A fraction of the [0, 1] range from a number or a text such as "5/255".

    Raises ValueError when `value` is negative, not finite or not a number.

    >>> parse_amplitude("5/255") == 5 / 255, parse_amplitude(0.02 * 3)
    (True, 0.06)
    """
    value = plain_number(value)
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f'expected a number or a text like "5/255", got {value!r}')
    try:
        number = float(Fraction(value)) if isinstance(value, str) else float(value)
    except (ValueError, ZeroDivisionError):
        raise ValueError(f'expected a number or a text like "5/255", got {value!r}') from None
    # "5/255" keeps its own float: rounding it would move it off the grey level.
    number = number if isinstance(value, str) and "/" in value else canonical_float(number)
    if number < 0:
        raise ValueError(f"must be 0 or more, got {value!r}")
    if number == 0 and isinstance(value, str) and Fraction(value) != 0:
        raise ValueError(f"must be a number that float64 can hold, got {value!r}, which it rounds to 0")
    return number


_RELATIVE = re.compile(r"^epsilon\s*(?:([/*])\s*([0-9.]+))?$")


def parse_step_size(value: Any) -> float | str:
    """An absolute step (number, "1/255") or a step relative to ε ("epsilon/4", "epsilon*0.25").

    >>> parse_step_size("epsilon / 4"), parse_step_size(0.01)
    ('epsilon/4', 0.01)
    """
    if isinstance(value, str) and "epsilon" in value:
        match = _RELATIVE.match(value.strip())
        if not match or (match[2] and float(match[2]) <= 0):
            raise ValueError(f'expected a number, "1/255" or "epsilon/4", got {value!r}')
        return "epsilon" if match[1] is None else f"epsilon{match[1]}{match[2]}"
    return parse_amplitude(value)


def resolve_step_size(rule: float | str, epsilon: float) -> float:
    """The step size in use at `epsilon`.

    >>> resolve_step_size("epsilon/4", 0.02), resolve_step_size(0.01, 0.02)
    (0.005, 0.01)
    """
    if not isinstance(rule, str):
        return rule
    operator, number = rule[7:8], rule[8:]
    return epsilon if not operator else epsilon / float(number) if operator == "/" else epsilon * float(number)


def largest_reach(rule: float | str, steps: int, update: str, *, random_start: bool) -> float | None:
    """The largest perturbation, in the attack's norm, that `steps` steps add up to; None where no number says it.

    That is so where `step_size` is the length of a step, an absolute one, from the clean image. Relative steps grow
    with ε; other update rules and random starts have no such bound, nor is any known of a rule not registered here.

    >>> largest_reach(0.01, 20, "projected-sign", random_start=False)
    0.2
    """
    facts = UPDATE_RULES.find(update)
    if isinstance(rule, str) or facts is None or facts.step_meaning != "length" or random_start:
        return None
    return steps * rule


def step_size_name(rule: float | str) -> str:
    """The rule as text, the key of the step-size axis in records: "0.01" or "epsilon/4"."""
    return rule if isinstance(rule, str) else f"{rule:.12g}"


Amplitude = Annotated[float, BeforeValidator(parse_amplitude)]


StepSize = Annotated[float | str, BeforeValidator(parse_step_size)]


class _Attack(Frozen):
    update: Update = "projected-sign"
    """The registered update rule: what one step does with the gradient (see `advassay attack --help`)."""
    loss: Loss = "cross-entropy"
    """The registered loss that the attack follows (see `advassay attack --help`)."""
    norm: Norm = "linf"
    steps: int = Field(20, ge=0, le=100_000)
    """Number of updates K; iterates are numbered 0 (clean) to K. Of square the number of queries; of a search
    (apgd-targeted, fab, hopskipjump, square) only both ends are recorded."""
    random_start: bool = False
    """Start uniformly inside the ε-ball, keyed by (seed, image_id, restart)."""
    restarts: int = Field(1, ge=1, le=10_000)
    seed: int = 0
    targeted: bool = False
    """Towards `targets` instead of away from the label."""

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, data: Any) -> Any:
        return {name: plain_numbers(value) for name, value in data.items()} if isinstance(data, dict) else data

    @model_validator(mode="after")
    def _consistent(self) -> _Attack:
        rule = UPDATE_RULES.get(self.update)
        if self.norm not in rule.norms:
            raise ValueError(f"norm: {self.update} knows {', '.join(rule.norms)}, got {self.norm}")
        if rule.searches and (self.restarts > 1 or self.random_start or self.targeted):
            seen = f"restarts {self.restarts}, random_start {self.random_start}, targeted {self.targeted}"
            raise ValueError(
                f"update: {self.update} is a search with a start of its own, once an image and away from its label; "
                f"expected restarts 1, random_start false, targeted false, got {seen}"
            )
        if self.restarts > 1 and not self.random_start and not UPDATE_RULES.get(self.update).restarts_at_random:
            raise ValueError(
                f"restarts: more than 1 repeats the same trajectory unless random_start is true, got {self.restarts}"
            )
        return self


class PGD(_Attack):
    """One projected-gradient attack (Madry et al. 2018, arXiv 1706.06083).

    Raises EpsilonError for an amplitude that is none, AttackError for any other argument.

    >>> PGD(epsilon="5/255", steps=10).step_size
    0.01
    """

    epsilon: Amplitude
    """Radius of the ball, as a fraction of the [0, 1] range (linf) or a Euclidean length (l2)."""
    step_size: StepSize = 0.01
    """Step in image units for sign and L2-normalised updates; a gain for raw-gradient updates."""

    if TYPE_CHECKING:  # for type checkers: the fields, which Pydantic's own signature would hide behind **data

        def __init__(
            self,
            epsilon: float | str,
            step_size: float | str = 0.01,
            *,
            update: str = ...,
            loss: str = ...,
            norm: str = ...,
            steps: int = ...,
            random_start: bool = ...,
            restarts: int = ...,
            seed: int = ...,
            targeted: bool = ...,
        ) -> None: ...

    else:

        def __init__(self, epsilon: Any = None, step_size: Any = 0.01, **data: Any) -> None:
            given = {} if epsilon is None else {"epsilon": epsilon}
            try:
                super().__init__(**given, **{"step_size": step_size}, **data)
            except ValidationError as found:
                raise _refusal(found) from None

    @model_validator(mode="after")
    def _known_unit(self) -> PGD:
        check_epsilon(self.epsilon, self.norm)
        check_step_rule(self.step_size, self.update)
        return self

    def rules(self) -> dict[str, Any]:
        """Everything but ε and the step size (those are axes of a record): what enters a run's identity."""
        return self.model_dump(exclude={"epsilon", "step_size"})


_ELSEWHERE = {
    "epsilon": ("eps", "epsilon_max", "max_eps", "radius"),
    "epsilons": ("eps", "epsilon", "amplitudes"),
    "step_size": ("alpha", "eps_step", "eps_iter", "abs_stepsize", "rel_stepsize", "stepsize", "lr"),
    "step_sizes": ("alpha", "alphas", "step_size", "eps_step", "eps_iter"),
    "steps": ("iterations", "iters", "n_iter", "nb_iter", "num_steps", "max_iter", "nsteps"),
    "restarts": ("n_restarts", "num_restarts", "num_random_init"),
    "random_start": ("rand_init", "random_init", "rand_start"),
    "norm": ("p", "ord", "order", "distance"),
    "loss": ("loss_fn", "criterion"),
}
"""What other libraries of attacks call these arguments."""


def did_you_mean(name: str, known: Collection[str]) -> str:
    """ "Did you mean …?" for an argument that is called otherwise here, or misspelt; empty where nothing is like it.

    >>> did_you_mean("eps", ["epsilon", "steps"]), did_you_mean("stepsize", ["step_size"]), did_you_mean("x", ["norm"])
    ('Did you mean epsilon?', 'Did you mean step_size?', '')
    """
    meant = [ours for ours, theirs in _ELSEWHERE.items() if ours in known and name.lower() in theirs]
    meant += difflib.get_close_matches(name, list(known), n=1, cutoff=0.7)
    return f"Did you mean {meant[0]}?" if meant else ""


def check_list(values: Any) -> None:
    """Raise ValueError where a single amplitude or step stands for a list of them."""
    single = plain_number(values)
    if isinstance(single, str) and not any(letter.isdigit() for letter in single):
        raise ValueError(f"expected a list of numbers, got {single!r}")
    if isinstance(single, int | float | str):
        raise ValueError(f"expected a list, got the single value {single!r}: write [{single!r}]")
    if not hasattr(values, "__iter__"):
        raise ValueError(f"expected a list of numbers, got {values!r}")


def _refusal(found: ValidationError) -> AttackError:
    """The error of our tree for arguments that pydantic has refused (in study files they are located instead)."""
    told = []
    errors = found.errors(include_url=False)
    unknown = [str(error["loc"][-1]) for error in errors if error["type"] == "extra_forbidden"]
    if unknown:
        said = [f"{name}: PGD has no such argument. {did_you_mean(name, PGD.model_fields)}" for name in unknown]
        problem = " ".join(text.strip() for text in said)
        return AttackError(problem, "See help(advassay.PGD) for the arguments and what they may be.")
    for error in errors:
        text = error["msg"].removeprefix("Value error, ")
        field = ".".join(map(str, error["loc"]))
        seen = "" if "got " in text or error["type"] == "missing" else f", got {error['input']!r}"
        told.append((f"{field}: {text}" if field else text) + seen)
    problem = " ".join(text if text.endswith("?") else f"{text}." for text in told)
    if any(text.startswith("epsilon:") for text in told):
        return EpsilonError(problem, "Give a fraction of the [0, 1] range: 0.02, or grey levels as 5/255.")
    return AttackError(problem, "See help(advassay.PGD) for the arguments and what they may be.")


class Arm(_Attack):
    """One attack arm of a study: an attack over a grid of amplitudes and step sizes."""

    epsilons: tuple[Amplitude, ...] = Field(tuple(canonical_float(0.02 * i) for i in range(1, 11)), min_length=1)
    """Amplitudes ε, as fractions of the [0, 1] range; each may be written 0.02 or 5/255."""
    step_sizes: tuple[StepSize, ...] = Field((0.01,), min_length=1)
    """Step sizes: an axis like ε. Numbers, or relative such as epsilon/4."""
    images: int | None = Field(None, ge=1)
    """At most this many validation images per cohort (drawn by content, classes in proportion); null = all."""
    precision: Precision = "fast"

    @field_validator("epsilons", "step_sizes", mode="before")
    @classmethod
    def _several(cls, value: Any) -> Any:
        check_list(value)
        return value

    @model_validator(mode="after")
    def _known_units(self) -> Arm:
        for epsilon in self.epsilons:
            check_epsilon(epsilon, self.norm)
        for rule in self.step_sizes:
            check_step_rule(rule, self.update)
        if len(set(self.epsilons)) < len(self.epsilons):
            raise ValueError(f"epsilons: each amplitude once, got {list(self.epsilons)}")
        return self

    def attack(self, epsilon: float, step_size: float | str) -> PGD:
        """The single attack at one point of the grid."""
        return PGD(
            epsilon=epsilon,
            step_size=step_size,
            **self.model_dump(exclude={"epsilons", "step_sizes", "images", "precision"}),
        )


def log_grid(lowest: float, highest: float, points: int) -> tuple[float, ...]:
    """`points` amplitudes from `lowest` to `highest` in equal steps of ln ε, each of three significant digits.

    >>> log_grid(0.0005, 0.064, 8)
    (0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064)
    """
    ratio = highest / lowest
    return tuple(float(f"{lowest * ratio ** (i / (points - 1)):.3g}") for i in range(points))


def check_epsilon(epsilon: float, norm: str) -> None:
    """Raise ValueError where ε cannot be a fraction of the [0, 1] range (L∞ only; an L2 length may exceed 1)."""
    if norm == "linf" and epsilon > 1:
        hint = f' Did you mean "{epsilon:g}/255"?' if epsilon <= 255 else ""
        raise ValueError(f"epsilon: a fraction of the [0, 1] range (0.02 or 5/255), got {epsilon:g}.{hint}")


def check_step_rule(rule: float | str, update: str) -> None:
    """Raise ValueError for an ε-relative step where the step is a gain on a raw gradient."""
    if isinstance(rule, str) and UPDATE_RULES.get(update).step_meaning == "gain":
        raise ValueError(
            f"step_size: {update} multiplies a raw gradient: give an absolute gain such as 100, got {rule!r}"
        )
