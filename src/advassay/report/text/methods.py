"""The methods text and its references, written from what the store says was done: nothing is assumed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from advassay.errors import DamagedError
from advassay.records.run_header import RunHeader
from advassay.records.store_reader import read_cluster
from advassay.registry import Registry
from advassay.report.tables.cohort_tables import division, preparations
from advassay.report.text import captions
from advassay.report.text.number_format import count, listed, number
from advassay.spec.attack_components import LOSSES, UPDATE_RULES, LossFacts, UpdateRuleFacts
from advassay.spec.attack_spec import Precision, check_complete
from advassay.store_documents import Preparation, TrainingDocument

if TYPE_CHECKING:
    from advassay.report.data.findings import Findings

REFERENCES = (
    "Kovalev V., Voynov D. Influence of Control Parameters and the Size of Biomedical Image Datasets on the Success of "
    "Adversarial Attacks. 2019. arXiv 1904.06964. (The reference study.)",
    "Madry A., Makelov A., Schmidt L., Tsipras D., Vladu A. Towards Deep Learning Models Resistant to Adversarial "
    "Attacks. ICLR 2018. arXiv 1706.06083.",
    "Kurakin A., Goodfellow I., Bengio S. Adversarial Examples in the Physical World. ICLR Workshop 2017. "
    "arXiv 1607.02533.",
    "Croce F., Hein M. Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse "
    "Parameter-free Attacks. "
    "ICML 2020. arXiv 2003.01690.",
    "Carlini N. et al. On Evaluating Adversarial Robustness. 2019. arXiv 1902.06705.",
    "Pintor M. et al. Indicators of Attack Failure: Debugging and Improving Optimization of Adversarial Examples. "
    "NeurIPS 2022. arXiv 2106.09947.",
    "Simonsohn U., Simmons J. P., Nelson L. D. Specification Curve Analysis. Nature Human Behaviour 4 (2020) "
    "1208–1214.",
    "Wilson E. B. Probable Inference, the Law of Succession, and Statistical Inference. J. Am. Stat. Assoc. 22 "
    "(1927) 209–212.",
    "Davison A. C., Hinkley D. V. Bootstrap Methods and their Application. Cambridge University Press, 1997.",
    "Liang K.-Y., Zeger S. L. Longitudinal Data Analysis Using Generalized Linear Models. Biometrika 73 (1986) 13–22.",
)


PRECISIONS: dict[Precision, str] = {
    "exact": "float32 passes of the unmodified network throughout",
    "fast32": "a rewritten network (batch norm folded) gives the gradients in float32; verdicts near the decision "
    "boundary, at the "
    "last iterate and at first success are float32 passes of the unmodified network",
    "fast": "a rewritten network gives the gradients, in bfloat16 where the processor has it; verdicts near the "
    "decision "
    "boundary, at the last iterate and at first success are float32 passes of the unmodified network",
}
check_complete("precision", Precision, PRECISIONS)


@dataclass(frozen=True)
class Paragraph:
    heading: str
    sentences: tuple[str, ...]


def methods(findings: Findings) -> list[Paragraph]:
    """Paragraphs in the order of the work: cohorts, networks, attack, success, statistics, software."""
    records = findings.records
    attacked = {header.classifier for header in findings.runs}
    place = {cohort: i for i, cohort in enumerate(findings.cohorts)}
    networks = [document for document in records.trainings if document.classifier in attacked]
    networks.sort(key=lambda document: place.get(document.cohort, len(place)))
    made = [
        Paragraph("Cohorts", tuple(_cohort(p) for p in preparations(records) if p.cohort in findings.cohorts)),
        Paragraph("Networks", tuple(_networks(networks))),
        Paragraph("Attack", tuple(_attack(findings))),
        Paragraph("Success", SUCCESS),
        Paragraph("Statistics", tuple(_statistics(findings))),
        Paragraph("Software and hardware", (*_software(findings.runs, networks), *_nodes(findings.records.root))),
    ]
    return [paragraph for paragraph in made if paragraph.sentences]


def _cohort(p: Preparation) -> str:
    sizes = listed(
        [f"{count(sum(of.values()))}{'' if p.split == 'none' else f' {role}'}" for role, of in p.counts.items() if of]
    )
    without = (
        f"{count(p.without_patient)} rows without one count as separate patients"
        if p.without_patient
        else "every row has one"
    )
    patients = (
        f"(the column {p.cluster} names the patient; {without})"
        if p.patients_known
        else "and treated as independent images"
    )
    channels = f"{p.channels} channel{'s' if p.channels > 1 else ''}"
    return (
        f"{p.cohort}: {p.title}; classes {listed(list(p.class_names))}, {p.positive} counted as positive; "
        f"{sizes} images, {division(p)} {patients}; {p.image_size_px} × {p.image_size_px} px, {channels}, {p.bits} "
        f"bit, "
        f"made square by {p.resize}, scaled to [0, 1] by {p.scaling}; content {p.identity}."
    )


def _networks(documents: list[TrainingDocument]) -> Iterator[str]:
    for document in (d for d in documents if d.full):
        spec = document.spec
        start = (
            f"weights with SHA-256 {document.start_weights_sha256[:16]}…"
            if document.start_weights_sha256
            else "random initialisation"
        )
        yield (
            f"{document.cohort}: {document.architecture} from {start}, {count(document.updates)} updates of Adam with "
            f"batches of {spec.get('batch_size')}, learning rate {number(spec.get('learning_rate'))}, on "
            f"{count(document.train_size)} images (seed {document.seed}, augmentation "
            f"{spec.get('augment', 'not recorded')}); {_kept(document)}; inputs are "
            f"normalised inside the network as (x − {document.mean:g}) / {document.std:g}."
        )
    series = [document for document in documents if not document.full]
    if series:
        sizes = sorted({document.train_size for document in series})
        yield (
            f"Training-size series of {listed(sorted({d.cohort for d in series}))}: {len(series)} further "
            "networks on nested "
            f"subsets of {listed([count(size) for size in sizes])} images, with the same number of updates and "
            "the same "
            "validation images."
        )


def _kept(document: TrainingDocument) -> str:
    """Which network of the training run was kept, by what chose it."""
    if not any("tuning_loss" in entry for entry in document.history):
        return "no images were set apart to choose a checkpoint, so the network after the last update is kept"
    chosen = (
        "the validation images, those it is scored on,"
        if document.spec.get("select_on") == "validation"
        else "the tuning part"
    )
    evaluations = len(document.history)
    return f"the best of {evaluations} evaluation{'s' if evaluations > 1 else ''} on {chosen} is kept"


def _attack(findings: Findings) -> Iterator[str]:
    arms = {arm: findings.headers(arm) for arm in findings.records.arms}
    runs = [header for headers in arms.values() for header in headers]
    yield (
        "White-box attacks on the prepared images as the network takes them. ε and the step are fractions of "
        "the [0, 1] "
        "range (0.02 is 5.1 grey levels of 255); for raw-gradient updates the step is a gain. "
        f"{_attacked(findings)} Each is attacked with its true label, with those that are misclassified without an "
        f"attack."
    )
    for headers in arms.values():
        if headers:
            amplitudes = sorted({point.epsilon for header in headers for point in header.points if point.epsilon > 0})
            grid = listed([f"{e:g}" for e in amplitudes])
            yield f"{captions.attack(headers)}; ε {grid}; seed {headers[0].attack.get('seed')}."
    yield from _on_attacked_images(findings)
    for registry in (UPDATE_RULES, LOSSES):
        for value in dict.fromkeys(str(header.attack.get(registry.kind)) for header in runs):
            yield describe_component(registry, value)
    for value in dict.fromkeys(str(header.attack.get("precision")) for header in runs):
        yield f"{value}: {PRECISIONS[value]}." if value in PRECISIONS else f"precision {value}."  # type: ignore[index]


def _on_attacked_images(findings: Findings) -> Iterator[str]:
    """What else was done with the attacked images: scored by other networks, measured in features."""
    headers = [run.header for run in findings.records.transfers]
    sources = {header.source_classifier for header in headers}
    if any(header.source_classifier != header.classifier for header in headers):
        kinds = listed(sorted({header.architecture for header in headers}))
        yield (
            f"Transfer: arm {headers[0].arm} attacked {len(sources)} networks ({kinds}); every network of the cohort "
            "scored the last iterates, and random noise that changes each pixel value by as much, up or down at random."
        )
    if "feature_distance" in findings.tables:
        yield (
            "Features are the input of a network's last linear layer. Euclidean distances are from the clean image to "
            "the last iterate, over the mean distance to those of the first 64 images of the sample that are of other "
            "classes and of other patients."
        )


def describe_component(registry: Registry[UpdateRuleFacts] | Registry[LossFacts], name: str) -> str:
    """An update rule or a loss in words; its name alone where it is not registered here."""
    part = registry.find(name)
    if part is None:
        return f"{registry.kind} {name}."
    return f"{name}: {part.description}{f' ({part.source})' if part.source else ''}."


def _attacked(findings: Findings) -> str:
    """Which images were attacked: the validation split, or all that were given with an external network."""
    unsplit = [name for name in findings.cohorts if findings.unsplit(name)]
    split = [name for name in findings.cohorts if name not in unsplit]
    of_split = "Attacked images are of the validation split"
    if not unsplit:
        return f"{of_split}."
    whole = (
        f"The images of {listed(unsplit)} are not split: any of them may be attacked, and whether the network was "
        "trained on some is not known."
    )
    return f"{of_split} of {listed(split)}. {whole}" if split else whole


SUCCESS = (
    "Attack success rate: of the images that the network classifies correctly without an attack, the share that it "
    "misclassifies at iterate k (reading “last”, that of the reference study) or at any iterate up to k (reading "
    "“any”). "
    "Images that are misclassified without an attack are not counted.",
    "Robust accuracy: of all attacked images, the share classified correctly. Logits of every iterate are recorded; "
    "verdicts are derived from them, confidences by softmax in float64.",
)


def _statistics(findings: Findings) -> Iterator[str]:
    used = findings.tables["success_by_arm"]["method"].unique().sort().to_list()
    if not findings.patients_known:
        yield (
            f"{100 * findings.level:g} % intervals by {listed(used)}, taking each image as independent of the others. "
            "Each table says which was used."
        )
    else:
        yield _clustered(findings.level, used)
    for conclusion in findings.conclusions:
        margin = f"; margin {conclusion.margin:g}" if conclusion.margin is not None else ""
        yield f"Conclusion {conclusion.number}: {conclusion.test}; level {conclusion.level:g}{margin}."


def _clustered(level: float, used: list[str]) -> str:
    """How intervals count patients."""
    from advassay.analysis.intervals import FEWEST_EITHER, FEWEST_PATIENTS, REPLICATES

    return (
        f"{100 * level:g} % intervals by {listed(used)}: the Wilson interval where images are independent; "
        f"where patients repeat, a bootstrap over patients ({count(REPLICATES)} replicates, seeded), or, with fewer "
        f"than {FEWEST_PATIENTS} effective patients, fewer than {FEWEST_EITHER} with a misclassified image or fewer "
        f"than "
        f"{FEWEST_EITHER} with an image that is still correct, Wilson with n divided by the design effect. The "
        f"bootstrap gives the "
        "variance, and the interval has Wilson’s shape at the n of that variance. Where patients repeat, Student’s t "
        "takes the place of the normal quantile, with effective patients − 1 degrees of freedom. Effective patients "
        "are Kish’s number, (Σm)² / Σm² for patients of m images each. Each table says which was used."
    )


def _nodes(root: Path) -> Iterator[str]:
    """Which machines of a cluster attacked what. Their names are left to `advassay status`: a page is passed on."""
    try:
        cluster = read_cluster(root)
    except DamagedError:
        yield "Which nodes of a cluster attacked what is not known: cluster.json of the store is damaged."
        return
    if cluster is None or cluster.machine is None or not cluster.nodes:
        return
    kind = cluster.machine
    instructions = f" with {', '.join(kind.instructions)}" if kind.instructions else ""
    told = [
        f"node {number}: {work.pieces:,} pieces, {work.images:,} images, {work.rows:,} rows"
        for number, (_, work) in enumerate(sorted(cluster.nodes.items()), 1)
    ]
    yield (
        "Pieces of runs were attacked on a cluster, on nodes of one kind "
        f"({kind.device} {kind.device_name}{instructions}, "
        f"torch {kind.torch}): {'; '.join(told)}."
    )


def _software(headers: list[RunHeader], networks: list[TrainingDocument]) -> Iterator[str]:
    for what, found in (("Attacks", [h.versions for h in headers]), ("Training", [d.versions for d in networks])):
        for versions in {tuple(sorted(v.items())): v for v in found}.values():
            yield f"{what}: {listed([f'{name} {version}' for name, version in versions.items()])}."
    for shape in dict.fromkeys(h.compute for h in headers if h.compute is not None):
        rewrites = f", rewritten: {listed(list(shape.rewrites))}" if shape.rewrites else ", unmodified network"
        yield (
            f"Execution configuration: {shape.device_name or shape.device}, {shape.threads} "
            f"thread{'s' if shape.threads > 1 else ''}, "
            f"batches of {shape.batch_size}, {shape.memory_format}{rewrites}, torch {shape.torch}."
        )
