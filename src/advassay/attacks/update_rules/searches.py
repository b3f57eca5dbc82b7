"""Attacks that search for themselves: targeted Auto-PGD, FAB, Square and HopSkipJump (attacks/suite/).

Here are their names, facts and budgets, which study files, plans and reports ask for without torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil, sqrt
from typing import TYPE_CHECKING

from advassay.attacks.suite.search import GRADIENT, MOST_CLASSES, MOST_TARGETS, SearchResult, SearchRule, SearchTask
from advassay.spec.attack_components import UPDATE_RULES

if TYPE_CHECKING:
    from advassay.attacks.suite.counted_network import CountedNetwork
    from advassay.spec.attack_spec import PGD, Arm
    from advassay.store_documents import ExecutionConfig


class SquareSearch(SearchRule):
    """Random squares of ±ε, kept where the loss rises. `steps` is the number of queries."""

    name = "square"
    summary = "Square: random search without gradients; steps is the number of queries"
    description = "Square: random squares of ±ε, kept where the loss rises, without gradients; steps is its queries"
    source = "Andriushchenko et al. 2020"
    needs_gradient = False
    knowledge = "scores"
    ends_at_success = True

    def gradient_steps(self, steps: int, amplitudes: int) -> int:
        return ceil(steps * amplitudes / GRADIENT)

    def search(
        self, network: CountedNetwork, tasks: Iterator[SearchTask], rules: PGD | Arm, shape: ExecutionConfig
    ) -> Iterator[SearchResult]:
        from advassay.attacks.suite.square_search import square_search

        return square_search(network, tasks, rules, shape)


class TargetedAutoPGD(SearchRule):
    """Auto-PGD towards each of the most likely other classes. `steps` is its updates towards each."""

    name = "apgd-targeted"
    summary = "Auto-PGD towards each of up to 9 other classes; 3 or more classes"
    description = "Auto-PGD towards each of up to nine other classes in turn, most likely first"
    source = "Croce and Hein 2020"
    least_classes = 3

    def gradient_steps(self, steps: int, amplitudes: int) -> int:
        return MOST_TARGETS * steps * amplitudes

    def search(
        self, network: CountedNetwork, tasks: Iterator[SearchTask], rules: PGD | Arm, shape: ExecutionConfig
    ) -> Iterator[SearchResult]:
        from advassay.attacks.suite.targeted_apgd import targeted_apgd_search

        return targeted_apgd_search(network, tasks, rules, shape)


class FastAdaptiveBoundary(SearchRule):
    """The smallest change by projections onto the linearised boundary. The loss is not used."""

    name = "fab"
    summary = "FAB of torchattacks: the smallest change, one search for all amplitudes; the loss is not used"
    description = (
        "FAB (torchattacks): the smallest change, by projections onto the linearised decision boundary; the loss is "
        "not used"
    )
    source = "Croce and Hein 2020, arXiv 1907.02044"
    library = "torchattacks"

    def gradient_steps(self, steps: int, amplitudes: int) -> int:
        return MOST_CLASSES * steps

    def search(
        self, network: CountedNetwork, tasks: Iterator[SearchTask], rules: PGD | Arm, shape: ExecutionConfig
    ) -> Iterator[SearchResult]:
        from advassay.attacks.suite.library_searches import fab_search

        return fab_search(network, tasks, rules, shape)


class HopSkipJump(SearchRule):
    """The smallest change from decisions alone. The loss is not used."""

    name = "hopskipjump"
    summary = "HopSkipJump of Foolbox: the smallest change from decisions alone; the loss is not used"
    description = "HopSkipJump (Foolbox): the smallest change, found from decisions alone; the loss is not used"
    source = "Chen et al. 2020"
    needs_gradient = False
    knowledge = "decisions"
    library = "foolbox"

    FIRST_PROBES = 100
    """Probes of the boundary in the first step; they grow with the root of the step."""
    OTHER_QUERIES = 25
    """Of a step beside them, about: its length, and the bisections back to the boundary."""

    def gradient_steps(self, steps: int, amplitudes: int) -> int:
        queries = sum(self.FIRST_PROBES * sqrt(step) + self.OTHER_QUERIES for step in range(1, steps + 1))
        return ceil(queries / GRADIENT)

    def search(
        self, network: CountedNetwork, tasks: Iterator[SearchTask], rules: PGD | Arm, shape: ExecutionConfig
    ) -> Iterator[SearchResult]:
        from advassay.attacks.suite.library_searches import hopskipjump_search

        return hopskipjump_search(network, tasks, rules, shape)


for search in (SquareSearch(), TargetedAutoPGD(), FastAdaptiveBoundary(), HopSkipJump()):
    UPDATE_RULES.register(search)
