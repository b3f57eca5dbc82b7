"""Updates a second of our training beside a plain timm training loop, on the same prepared images.

    python -m benchmarks.training_speed            # about 10 minutes on 2 idle cores; prints a table
    python -m benchmarks.training_speed --quick    # under a minute: one small network, one round

Both train a network from scratch by Adam in batches of 32 on 480 radiographs made by the program, stored as 16-bit
PNGs. The plain loop is what a script does: timm.create_model, a torch DataLoader that decodes each image when its turn
comes, torchvision's flip, shift, brightness and contrast, float32. "bfloat16, channels-last" is the same loop with both
switched on. Each has a process of its own; rounds are interleaved. The time of a long training less that of a short one
is counted, so starts, the first pass of decoding and the evaluation at the end do not count.
"""

from __future__ import annotations

import argparse
import io
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from benchmarks.apart import Apart, Runs
from benchmarks.measuring import machine, note, say, table

BATCH, SHORT, LONG = 32, 16, 40
"""Images of a batch; updates of the two trainings whose times are subtracted. A pass over the images is 12 updates."""
OURS, PLAIN, PLAIN_FAST = "advassay", "plain loop", "plain loop, bfloat16, channels-last"


class Case(NamedTuple):
    """A network by its name in timm, and the side of its images."""

    architecture: str
    side: int


CASES = (Case("inception_v3", 75), Case("inception_v3", 256), Case("resnet18", 224), Case("densenet121", 128))
QUICK = (Case("resnet18", 64),)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one small network, one round")
    parser.add_argument("--rounds", type=int, default=None, help="pairs of trainings of each contender (3)")
    options = parser.parse_args()
    cases, rounds = (QUICK, 1) if options.quick else (CASES, 3)
    rows = [_compare(case, options.rounds or rounds) for case in cases]
    rates = (f"{name}, updates/s" for name in (OURS, PLAIN, PLAIN_FAST))
    header = ["network, side", *rates, "ours / plain", "ours / bfloat16"]
    say(table(header, rows))
    say("\n" + machine("timm"))


def _compare(case: Case, rounds: int) -> list[str]:
    store = _prepared(case.side)
    contenders = {
        OURS: Apart(_our_runs, case, store),
        PLAIN: Apart(_plain_runs, case, store, False),
        PLAIN_FAST: Apart(_plain_runs, case, store, True),
    }
    rates: dict[str, list[float]] = defaultdict(list)
    for _ in range(rounds):
        for name, contender in contenders.items():
            short, _ = contender.run("short")
            long, _ = contender.run("long")
            rates[name].append((LONG - SHORT) / (long.wall_s - short.wall_s))
    for contender in contenders.values():
        contender.end()
    middle = {name: median(values) for name, values in rates.items()}
    row = [f"{case.architecture}, {case.side}", *(f"{middle[name]:.2f}" for name in contenders)]
    row += [f"{middle[OURS] / middle[PLAIN]:.2f}", f"{middle[OURS] / middle[PLAIN_FAST]:.2f}"]
    note(" | ".join(row))
    return row


STUDY = """
name: training-speed
image_size_px: {side}
sources:
  chest: {{kind: phantoms, phantom: chest, images: 480, prevalence: {{tuberculosis: 0.5}}, signal: 1.3}}
cohorts:
  X-TB:
    source: chest
    image_type: X-ray
    classes:
      tuberculosis: {{tuberculosis: present}}
      norm: {{norm: present}}
"""


def _prepared(side: int) -> Path:
    """A store with one prepared cohort of images of this side, made once."""
    store = Path(f"runs/bench/training-{side}")
    if not store.exists():
        store.parent.mkdir(parents=True, exist_ok=True)
        study = store.with_suffix(".yaml")
        study.write_text(STUDY.format(side=side))
        command = [sys.executable, "-m", "advassay.cli", "prepare", str(study), "--store", str(store)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return store


def _cohort(store: Path) -> Any:
    from advassay.cohorts import open_cohort

    return open_cohort(store / "cohorts" / "X-TB")


def _our_runs(case: Case, store: Path) -> Runs:
    from advassay.spec.study_spec import TrainingSpec
    from advassay.training import train

    cohort = _cohort(store)

    def run(updates: int) -> None:
        spec = TrainingSpec(architecture=case.architecture, updates=updates, batch_size=BATCH, evaluations=1)
        folder = Path(tempfile.mkdtemp())
        try:
            train(cohort, spec, train_ids=cohort.ids("training"), seed=0, updates=updates, folder=folder)
        finally:
            shutil.rmtree(folder)

    return {"short": lambda: run(SHORT), "long": lambda: run(LONG)}


class _Images(torch.utils.data.Dataset[tuple[torch.Tensor, int]]):
    """The prepared training images, decoded when they are asked for."""

    def __init__(self, store: Path) -> None:
        import polars as pl
        from torchvision.transforms import v2

        cohort = _cohort(store)
        files = sorted((store / "cohorts" / "X-TB").glob("images-*.parquet"))
        rows = pl.concat([pl.read_parquet(file) for file in files])
        label = dict(zip(cohort.manifest["image_id"], cohort.manifest["label"], strict=True))
        chosen = set(cohort.ids("training"))
        rows = rows.filter(pl.col("image_id").is_in(chosen))
        self._bytes = [image["bytes"] for image in rows["image"]]
        self._labels = [label[each] for each in rows["image_id"]]
        self._augment = v2.Compose(
            [v2.RandomHorizontalFlip(), v2.RandomAffine(0, (0.05, 0.05)), v2.ColorJitter(brightness=0.1, contrast=0.1)]
        )

    def __len__(self) -> int:
        return len(self._bytes)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        from PIL import Image

        pixels = np.asarray(Image.open(io.BytesIO(self._bytes[index])), dtype=np.float32) / 65535
        return self._augment(torch.from_numpy(pixels)[None]), self._labels[index]


def _plain_runs(case: Case, store: Path, fast: bool) -> Runs:
    import timm

    images = _Images(store)
    layout = torch.channels_last if fast else torch.contiguous_format

    def run(updates: int) -> None:
        torch.manual_seed(0)
        network = timm.create_model(case.architecture, num_classes=2, in_chans=1).train().to(memory_format=layout)
        optimiser = torch.optim.Adam(network.parameters(), 1e-3)
        loader = torch.utils.data.DataLoader(images, BATCH, shuffle=True, drop_last=True)
        done = 0
        while done < updates:
            for x, y in loader:
                with torch.autocast("cpu", torch.bfloat16, enabled=fast):
                    logits = network(x.to(memory_format=layout))
                loss = nn.functional.cross_entropy(logits.float(), y)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                done += 1
                if done == updates:
                    break

    return {"short": lambda: run(SHORT), "long": lambda: run(LONG)}


if __name__ == "__main__":
    main()
