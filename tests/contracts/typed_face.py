"""Read by mypy alone (`make check`): a line that should be refused and is not fails as an unused ignore."""

import numpy as np
from torch import nn

import advassay as aa


def face(images: np.ndarray, labels: np.ndarray) -> float:
    classifier = aa.Classifier(nn.Flatten(), mean=0.5, std=0.5)
    attack = aa.PGD(epsilon="5/255", steps=20)
    aa.PGD(eps=3)  # type: ignore[call-arg]
    aa.sweep(classifier, images, labels)  # type: ignore[call-arg]
    sweep = aa.sweep(classifier, images, labels, attack, epsilons=[0.01, 0.02])
    sweep.atack_success_rate()  # type: ignore[attr-defined]
    return float(sweep.attack_success_rate()[-1])


def study_face(store: str) -> aa.StudyResult:
    aa.plan("study.yaml", store=store, measure=False).to_polars()
    aa.report(store, format="pdf")
    aa.report(store, format="docx")  # type: ignore[arg-type]
    aa.run("study.yaml", stroe=store)  # type: ignore[call-arg]
    result = aa.run("study.yaml", store=store)
    result.plot(figure="fig-3a").to_dict()
    return result
