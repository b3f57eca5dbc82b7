"""Sentences that radiologists of three languages write: what each says of which finding is known beforehand.

They exercise the rules that read reports; they are no evidence of how well those rules read real ones.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

LANGUAGES = ("en", "es", "ru")

NORM: dict[str, tuple[str, ...]] = {
    "en": (
        "Heart size is normal. The lungs are clear.",
        "Normal chest.",
        "The lungs are clear. No acute cardiopulmonary abnormality.",
    ),
    "es": (
        "Sin hallazgos patológicos.",
        "Sin alteraciones significativas.",
        "Silueta cardiomediastínica normal. Sin hallazgos relevantes.",
    ),
    "ru": (
        "Органы грудной клетки без патологических изменений.",
        "Лёгкие без видимой патологии. Сердце в норме.",
        "Возрастная норма.",
    ),
}
"""Whole reports of a normal chest."""

UNUSUAL: dict[str, str] = {
    "en": "Healed fracture of the fifth rib on the right.",
    "es": "Fractura antigua del quinto arco costal derecho.",
    "ru": "Консолидированный перелом пятого ребра справа.",
}
"""A report that names none of the findings and is not normal."""

PRESENT: dict[str, dict[str, str]] = {
    "en": {
        "pneumosclerosis": "Basal pneumosclerosis on both sides.",
        "emphysema": "Moderate emphysema of both lungs.",
        "fibrosis": "Fibrosis in the right upper lobe.",
        "pneumonia": "Pneumonia in the left lower lobe.",
        "focal_shadows": "Nodules in the right upper lobe.",
        "bronchitis": "Signs of chronic bronchitis.",
        "tuberculosis": "Tuberculosis of the right upper lobe.",
        "aortic_rotation": "The thoracic aorta is unfolded and elongated.",
    },
    "es": {
        "pneumosclerosis": "Neumoesclerosis basal bilateral.",
        "emphysema": "Enfisema pulmonar moderado.",
        "fibrosis": "Fibrosis en lóbulo superior derecho.",
        "pneumonia": "Neumonía en lóbulo inferior izquierdo.",
        "focal_shadows": "Nódulos en lóbulo superior derecho.",
        "bronchitis": "Bronquitis crónica.",
        "tuberculosis": "Tuberculosis del lóbulo superior derecho.",
        "aortic_rotation": "Aorta torácica elongada.",
    },
    "ru": {
        "pneumosclerosis": "Диффузный пневмосклероз.",
        "emphysema": "Эмфизема лёгких.",
        "fibrosis": "Фиброз верхней доли правого лёгкого.",
        "pneumonia": "Пневмония нижней доли левого лёгкого.",
        "focal_shadows": "Очаговые тени в верхней доле справа.",
        "bronchitis": "Хронический бронхит.",
        "tuberculosis": "Туберкулёз верхней доли правого лёгкого.",
        "aortic_rotation": "Аорта удлинена, развёрнута.",
    },
}

NAMES: dict[str, dict[str, str]] = {
    "en": {
        "pneumosclerosis": "pneumosclerosis",
        "emphysema": "emphysema",
        "fibrosis": "fibrosis",
        "pneumonia": "pneumonia",
        "focal_shadows": "nodules",
        "bronchitis": "bronchitis",
        "tuberculosis": "tuberculosis",
        "aortic_rotation": "unfolding of the aorta",
    },
    "es": {
        "pneumosclerosis": "neumoesclerosis",
        "emphysema": "enfisema",
        "fibrosis": "fibrosis",
        "pneumonia": "neumonía",
        "focal_shadows": "nódulos",
        "bronchitis": "bronquitis",
        "tuberculosis": "tuberculosis",
        "aortic_rotation": "elongación de la aorta",
    },
    "ru": {
        "pneumosclerosis": "пневмосклероза",
        "emphysema": "эмфиземы",
        "fibrosis": "фиброза",
        "pneumonia": "пневмонии",
        "focal_shadows": "очаговых теней",
        "bronchitis": "бронхита",
        "tuberculosis": "туберкулёза",
        "aortic_rotation": "удлинения аорты",
    },
}
"""Each finding as it stands after a cue."""

CUES = {
    "absent": {"en": "No evidence of {}.", "es": "No se observa {}.", "ru": "Признаков {} не выявлено."},
    "uncertain": {"en": "Possible {}.", "es": "Posible {}.", "ru": "Подозрение на наличие {}."},
}


def report_text(language: str, said: Mapping[str, str], norm: bool, rng: np.random.Generator) -> str:
    """A report in `language` that says `said` (finding → present | absent | uncertain) and no more.

    `norm`: a report of a normal chest, whatever `said`; without a statement and not norm it tells of an old fracture.
    """
    if norm:
        return NORM[language][rng.integers(len(NORM[language]))]
    sentences = [_sentence(language, finding, decision) for finding, decision in said.items()]
    if not any(decision != "absent" for decision in said.values()):
        sentences.append(UNUSUAL[language])
    rng.shuffle(sentences)
    return " ".join(sentences)


def _sentence(language: str, finding: str, decision: str) -> str:
    if decision == "present":
        return PRESENT[language][finding]
    return CUES[decision][language].format(NAMES[language][finding])
