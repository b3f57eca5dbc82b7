"""Is low precision a weaker attack? `exact`, `fast32` and `fast` on the same images, paired.

    python -m benchmarks.precision            # about 20 minutes on 2 idle cores
    python -m benchmarks.precision --small    # seconds, only to see that it runs

InceptionV3 at 128 px, 200 images, three attacks. For each: success at the last iterate, images that fell under one
policy only (exact McNemar test of `fast` against `exact`), mean final margin (lower = stronger), the float32 account.
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy.stats import binomtest

import advassay as aa
from advassay.success import margin
from benchmarks.measuring import machine, note, say, table
from benchmarks.subject import Subject, trained

ATTACKS = {
    "cross-entropy, step 0.01, ε 0.02": (aa.PGD(0.02, 0.01, loss="cross-entropy"), 0.02),
    "cross-entropy, step 0.01, ε 0.10": (aa.PGD(0.10, 0.01, loss="cross-entropy"), 0.10),
    "margin, step ε/4, ε 0.0025": (aa.PGD(0.0025, "epsilon/4", loss="margin"), 0.0025),
}
POLICIES = ("exact", "fast32", "fast")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="a tiny network: only to see that it runs")
    parser.add_argument("--images", type=int, default=200)
    options = parser.parse_args()
    if options.small:
        subject, n = trained(64, updates=4, images=160, architecture="resnet10t"), 8
    else:
        subject, n = trained(128, updates=60, images=1600), options.images
    say(f"validation accuracy {subject.score:.2f}; {min(n, len(subject.images))} images, all classified correctly\n")
    rows = [row for name in ATTACKS for row in _compare(subject, name, n)]
    header = [
        "attack",
        "policy",
        "success",
        "only here / only exact",
        "p",
        "mean final margin",
        "scored float32",
        "changed",
    ]
    say(table(header, rows))
    say("\n" + machine())


def _compare(subject: Subject, name: str, n: int) -> list[list[str]]:
    attack, epsilon = ATTACKS[name]
    images, labels = subject.images[:n], subject.labels[:n]
    rows, exact = [], np.zeros(0, bool)
    for policy in POLICIES:
        note(f"{name}: {policy}")
        s = aa.sweep(subject.classifier, images, labels, attack, [epsilon], precision=policy)
        final = margin(s.logits[0, -1], labels.numpy())
        fell = final < 0
        exact = fell if policy == "exact" else exact
        gained, lost = int((fell & ~exact).sum()), int((exact & ~fell).sum())
        p = binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
        rows.append(
            [
                name,
                policy,
                f"{fell.mean():.3f}",
                f"{gained} / {lost}",
                f"{p:.2f}",
                f"{final.mean():.3f}",
                f"{s.scored_float32.mean():.1%}",
                str(s.cost.changed),
            ]
        )
    return rows


if __name__ == "__main__":
    main()
