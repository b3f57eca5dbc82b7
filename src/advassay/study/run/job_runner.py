"""Does jobs in this process, one at a time, each under its own lock."""

from __future__ import annotations

import time
import warnings
from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING, assert_never

from advassay.checked_files import read_model
from advassay.errors import AdvassayWarning, DamagedError, StoreError
from advassay.records import RunHeader, open_records, read_header
from advassay.spec.study_spec import Study
from advassay.store_documents import ArmRange, CohortRange, Preparation, TrainingDocument
from advassay.store_layout import HEADER, MODEL, TRAINING
from advassay.study.environment import RunEnvironment
from advassay.study.jobs import ATTACK, CONTROLS, ON_IMAGES, PREPARE, RANGE_FINDING, RERUN, TRAIN, Job, enumerate_jobs
from advassay.study.range_search import check_tuning_parts, is_found, keep_grids, read_ranges
from advassay.study.run.attack_job import AttackRun, gradient_masked_ids
from advassay.study.run.attacked_network import (
    AttackedNetwork,
    CheckpointLoader,
    given_network,
    recorded_images,
    rerun_header,
    run_header,
    trained_network,
)
from advassay.study.run.execution_config import WorkloadOf, WorkloadSize, kind_of
from advassay.study.run.prepare_stage import is_prepared_as_asked, prepare_cohort
from advassay.study.run.preregistration import freeze_analysis_plan
from advassay.study.run.range_finding import find_range
from advassay.study.run.run_pieces import BegunRun, Piece, PieceDone
from advassay.study.run.train_stage import train_network
from advassay.study.run.transfer_run import TransferRun
from advassay.study.run_request import run_request
from advassay.study.store_locks import Session, document_lock
from advassay.study.study_networks import ExternalNetwork, Network, network_identity, networks
from advassay.study.study_storage import store_study

if TYPE_CHECKING:
    from advassay.cohorts import PreparedCohort

OTHERS_SECONDS = 60.0
"""For a worker that was given up to end: what it writes later is written twice, and readers take it once."""
Outcome = Preparation | TrainingDocument | CohortRange | RunHeader | None
"""What a job leaves: a document of the store; None where there was nothing to do (no images to train on, or none whose
gradient vanished)."""


class JobRunner:
    """Does the jobs of one study, and remembers what several of them use: cohorts, the latest network.

    A job that the store holds already is recognised by content and costs little. What a job waits for must be done.
    """

    def __init__(self, site: RunEnvironment, session: Session, given: AttackedNetwork | None = None) -> None:
        """`given`: a network that is attacked and of which only this process has the model."""
        self.site, self._session, self._given = site, session, given
        self.prepared: dict[str, Preparation] = {}
        """Cohorts of which this process knows that they are prepared as the study asks."""
        self._cohorts: dict[str, PreparedCohort] = {}
        self._identities: dict[tuple[str, Network], str] = {}
        self._network: AttackedNetwork | None = None
        self._attacked: Study | None = None
        self._superseded: set[str] | None = None
        self._workload: dict[str, WorkloadSize] | None = None
        self._pieces_of: tuple[str, AttackRun] | None = None

    def do(self, job: Job) -> tuple[bool, Outcome]:
        """Do a job, or find that it is done. Returns (True, what it left), or (False, None) where another process is
        at it: then it is to be tried again.
        """
        with self._session.job_lock(self.lock_name(job)) as held:
            return (True, self._do(job)) if held else (False, None)

    def is_done(self, job: Job) -> bool:
        """Whether the store holds what the job makes, whoever made it; nothing is written."""
        if job.stage in (PREPARE, TRAIN) and self._session.is_held(self.lock_name(job)):
            return False  # its files are being replaced, or people who were taken out are being removed from it
        if job.stage == PREPARE:
            document = is_prepared_as_asked(job.study, job.cohort, self.site)
            if document is not None:
                self.prepared[job.cohort] = document
            return document is not None
        if self._lacks_images(job):
            return True
        if job.stage == TRAIN:
            return self._is_trained(self._identity(job))
        if job.stage == RANGE_FINDING:
            found = read_ranges(self.site.store).arms.get(job.arm, ArmRange()).cohorts
            cohort = self._cohort(job).preparation
            return is_found(job.search(), found, cohort.cohort, cohort.identity, self._identity(job))
        if job.stage in ON_IMAGES:
            networks = self._transfer_networks(job)
            return all(map(self._is_trained, networks)) and self._transfer(job).is_done()
        trained = isinstance(job.network, ExternalNetwork) or self._is_trained(self._identity(job))
        return trained and self._is_run_done(job, self._run(job))

    def _is_trained(self, identity: str) -> bool:
        """Whether the weights are those of the network's document: not damaged, and not being replaced."""
        from advassay.models.weight_files import file_sha256

        folder = self.site.store.classifier(identity)
        try:
            document = read_model(folder / TRAINING, TrainingDocument, "It is trained again.")
        except (FileNotFoundError, DamagedError):
            return False
        model = folder / MODEL
        return model.is_file() and file_sha256(model) == document.weights_sha256

    def _is_run_done(self, job: Job, run: AttackRun) -> bool:
        if not run.is_attacked():
            return False
        if job.stage == CONTROLS:
            controls = read_header(run.folder).controls
            return controls is not None and not run.lacks_doubling(controls)
        if job.stage == RERUN:
            from advassay.attacks import linked_rerun

            again = linked_rerun(run.request.arm)
            masked = len(gradient_masked_ids(self.site.store, run.header.run_id, run.request))
            if again is None or not masked:
                return True
            linked = rerun_header(run.header, again)
            held = recorded_images(self.site.store, linked.run_id, run.request.points)
            return (run.folder / HEADER).exists() and min(held.values()) >= masked
        return True

    def _do(self, job: Job) -> Outcome:
        if self._lacks_images(job):
            return None
        match job.stage:
            case "prepare":
                self._cohorts.pop(job.cohort, None)
                self.prepared[job.cohort] = prepare_cohort(job.study, job.cohort, self.site)
                return self.prepared[job.cohort]
            case "train":
                tuning = {name: sum(one.counts["tuning"].values()) for name, one in self.prepared.items()}
                check_tuning_parts(job.study, tuning)  # before hours of training
                assert isinstance(job.network, Network)
                return train_network(job.study, self._cohort(job), job.network, self.site)
            case "range-finding":
                return find_range(job.search(), self._cohort(job), self._classifier(job), self._work(job), self.site)
            case "attack":
                run = self._run(job)
                return run.attack(touch=run.header.run_id in self._not_current())
            case "controls":
                return self._run(job).control()
            case "re-run":
                return self._run(job).rerun()
            case "transfer" | "features":
                return self._transfer(job).score()
            case _:
                assert_never(job.stage)

    def lock_name(self, job: Job) -> str:
        """What else no other process may do meanwhile: all that writes to the same place."""
        if job.stage == PREPARE:
            return f"cohort-{job.cohort}"
        if job.stage == RANGE_FINDING:
            return f"range-{job.arm}-{job.cohort}"
        if self._lacks_images(job):
            return f"nothing-{job.id}"
        if job.stage in ON_IMAGES:
            return f"transfer-{self._cohort(job).preparation.identity}-{self._identity(job)}"
        return f"network-{self._identity(job)}" if job.stage == TRAIN else f"run-{self._run(job).header.run_id}"

    # ---- a run in pieces: a launcher holds the job's lock, its processes do this -------------------------------------

    def begin(self, job: Job) -> BegunRun | str | None:
        """Begin the run of an attack or re-run that is attacked in pieces. Returns the run_id of one that is complete,
        "" where there is nothing to do, None where workers of a launcher that has ended are still at it: then it is to
        be tried again.
        """
        self._pieces_of = None  # an earlier attempt may have ended otherwise
        run = self._run_of(job)
        if run is None:
            return ""
        run_id = run.header.run_id
        if self._session.steps_under_way(run_id):
            return None
        with self._session.step_lock(run_id):
            return run.begin(touch=run_id in self._not_current()) or run_id

    def attack_piece(self, job: Job, piece: Piece, *, rows_before: bool) -> PieceDone:
        """Attack some images of a run that was begun. rows_before: another worker was at them, and may not have ended
        yet; it is waited for, for a minute at most.
        """
        run = self._run_of(job)
        assert run is not None
        if rows_before:
            self._wait_for_others(run.header.run_id, piece)
        with self._session.step_lock(run.header.run_id, piece.start, piece.stop):
            return run.attack_piece(piece, rows_before=rows_before)

    def _wait_for_others(self, run_id: str, piece: Piece) -> None:
        end = time.monotonic() + OTHERS_SECONDS
        while time.monotonic() < end and any(
            start < piece.stop and piece.start < stop for start, stop in self._session.steps_under_way(run_id)
        ):
            time.sleep(0.1)

    def end(self, job: Job) -> str:
        """End a run whose pieces have been attacked. Returns its run_id, "" where the store lacks rows of it."""
        run = self._run_of(job)
        assert run is not None
        with self._session.step_lock(run.header.run_id):
            run.end()
        self._pieces_of = None
        return run.header.run_id if run.is_attacked() else ""

    def _run_of(self, job: Job) -> AttackRun | None:
        """The run that a job attacks; the latest one is kept. None where there is nothing to attack."""
        if self._pieces_of is None or self._pieces_of[0] != job.id:
            if self._lacks_images(job):
                return None
            run = self._run(job)
            found = run.linked() if job.stage == RERUN else run
            if found is None:
                return None
            self._pieces_of = (job.id, found)
        return self._pieces_of[1]

    def know_prepared(self, cohorts: Iterable[str]) -> None:
        """Take it from others that these cohorts are prepared as the study asks."""
        from advassay.cohorts.preparation_json import document_in

        for cohort in cohorts:
            if cohort not in self.prepared and (found := document_in(self.site.store.cohort(cohort))) is not None:
                self.prepared[cohort] = found
                self._workload = None

    # ---- what several jobs use --------------------------------------------------------------------------------------

    def _cohort(self, job: Job) -> PreparedCohort:
        from advassay.cohorts import open_cohort

        if job.cohort not in self._cohorts:
            self._cohorts[job.cohort] = open_cohort(self.site.store.cohort(job.cohort))
        return self._cohorts[job.cohort]

    def _lacks_images(self, job: Job) -> bool:
        """Whether the job's network would have to be trained on a cohort without training images: there is none."""
        return isinstance(job.network, Network) and not self._cohort(job).ids("training")

    def _identity(self, job: Job, network: Network | None = None) -> str:
        """The identity of a job's network, or of another network of its cohort."""
        wanted = network or job.network
        if isinstance(wanted, ExternalNetwork):
            return wanted.identity
        assert wanted is not None
        cohort = self._cohort(job)
        key = (cohort.preparation.identity, wanted)
        if key not in self._identities:
            self._identities[key] = network_identity(job.study, cohort, wanted, self.site.data)
        return self._identities[key]

    def _classifier(self, job: Job) -> AttackedNetwork:
        """The job's network; its file is read once for jobs that follow each other."""
        identity, network = self._identity(job), job.network
        if self._given is not None and self._given.identity == identity:
            return self._given
        primary = isinstance(network, Network) and identity == self._identity(job, _main(job.study))
        known = self._network
        if known is not None and known.identity == identity and known.described.get("primary", False) == primary:
            return known
        if isinstance(network, ExternalNetwork):
            from advassay.models.weight_files import file_sha256
            from advassay.training import checkpoint_metadata

            assert network.path is not None
            load = CheckpointLoader(network.path, self.site.device)
            architecture = checkpoint_metadata(network.path).architecture
            self._network = given_network(load, architecture, file_sha256(network.path))
        else:
            self._network = trained_network(
                self.site.store, identity, self.site.device, primary=primary, wanted=job.what
            )
        return self._network

    def _run(self, job: Job) -> AttackRun:
        """The run that an attack job and those beside it work on."""
        study, cohort, network = self._study_of(job), self._cohort(job), self._classifier(job)
        request = run_request(job, cohort, study)
        header = run_header(study.name, cohort.preparation, network, request)
        return AttackRun(self.site, cohort, network, header, request, self._work(job))

    def _transfer_networks(self, job: Job) -> dict[str, Network]:
        """Identity → network: of all networks of a job's cohort, or of its own where no other one scores."""
        if not job.study.attack.transfer:
            assert isinstance(job.network, Network)
            return {self._identity(job): job.network}
        found: dict[str, Network] = {}
        for network in networks(job.study, job.cohort):
            found.setdefault(self._identity(job, network), network)
        return found

    def _transfer(self, job: Job) -> TransferRun:
        study, store, device = self._study_of(job), self.site.store, self.site.device
        found = {
            identity: trained_network(store, identity, device, primary=network.primary, wanted=job.what)
            for identity, network in self._transfer_networks(job).items()
        }
        request, source = run_request(job, self._cohort(job), study), found[self._identity(job)]
        return TransferRun(
            self.site,
            study.name,
            self._cohort(job),
            source,
            tuple(found.values()),
            request,
            self._work(job),
            features=bool(study.attack.features),
        )

    def _study_of(self, job: Job) -> Study:
        """The study with all amplitudes found. At the first call its analysis plan is frozen: before the first attack.

        Amplitudes are found over the cohorts that could be formed.
        """
        if self._attacked is None:
            study, store = job.study, self.site.store
            if study.attack.auto_arms:
                study = keep_grids(study, store, self._main_networks(job))
                with document_lock(store, "study"):
                    store_study(store, study)
                self._workload = None  # it was that of stand-ins
            with document_lock(store, "analysis"):
                freeze_analysis_plan(study, store)
            self._attacked = study
        return self._attacked

    def _main_networks(self, job: Job) -> dict[str, tuple[str, str]]:
        """Cohort that is prepared → (its identity, its main network's)."""
        found = {}
        for one in enumerate_jobs(job.study):
            if one.stage == PREPARE and one.cohort in self.prepared:
                found[one.cohort] = (self._cohort(one).preparation.identity, self._identity(one, _main(job.study)))
        return found

    def _not_current(self) -> set[str]:
        """Runs in the store that did not count as their place's current one when this process began to attack; none
        where records are damaged: the attack mends them."""
        if self._superseded is None:
            self._superseded = set()
            if self.site.store.records.is_dir():
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", AdvassayWarning)  # what is missing is about to be computed
                    try:
                        superseded = open_records(self.site.store.root).superseded
                        self._superseded = {header.run_id for header in superseded}
                    except StoreError:
                        pass
        return self._superseded

    def _work(self, job: Job) -> WorkloadOf:
        """Kind of network, image and precision → all that the study asks of it, as far as cohorts are prepared."""
        external = {job.cohort: (job.network,)} if isinstance(job.network, ExternalNetwork) else {}

        def of_kind(kind: str) -> WorkloadSize:
            if self._workload is None:
                self._workload = defaultdict(WorkloadSize)
                study = self._attacked or job.study
                for one in enumerate_jobs(study, external=external):
                    known = one.cohort in self.prepared or one.cohort == job.cohort
                    if one.stage in (ATTACK, *ON_IMAGES) and known and not self._lacks_images(one):
                        self._workload[self._kind(one)].add(run_request(one, self._cohort(one), study))
            return self._workload[kind]

        return of_kind

    def _kind(self, job: Job) -> str:
        prepared = self._cohort(job).preparation
        shape = (prepared.channels, prepared.image_size_px, prepared.image_size_px)
        architecture = getattr(job.network, "architecture", None) or job.study.training.architecture
        return kind_of(architecture, shape, job.declared_arm().precision, self.site.device)


def _main(study: Study) -> Network:
    """The main network of the first seed of any cohort."""
    return Network(study.training.seed, primary=True)
