"""The table of feature distance: how far attacked images move in pixels and in what the network sees."""

from __future__ import annotations

from advassay.analysis import feature_distance
from advassay.report.tables.column_labels import columns
from advassay.report.tables.table import TABLES, Printed, Table

TABLES.register(
    Table(
        "feature_distance",
        about="how far attacked images move in pixels and in the network's features, beside images of other classes",
        build=lambda findings: feature_distance(findings.records, level=findings.level),
        says=("level",),
        printed=(
            Printed(
                columns(
                    "cohort* epsilon networks n misled pixel_l2 ssim pixel feature feature_noise feature_same ratio "
                    "ratio_low ratio_high",
                    n="images × networks", pixel_l2="L2 in pixels", ssim="SSIM", pixel="in pixels",
                    feature="in features", feature_noise="noise, in features",
                    feature_same="another image of the class, in features", ratio="features over pixels",
                    ratio_low="95 % from", ratio_high="to",
                ),
                "Distance from the clean to the attacked image, mean over images that the network classifies correctly "
                "when clean: in pixels (L2, SSIM), and in pixels and in the network's features (the input of its last "
                "layer) as a multiple of the mean distance between images of different classes. Noise: random, of the "
                "same size in every pixel. Networks of the cohort pooled; intervals clustered by patient and, from "
                "three networks on, by network.",
                "results", 189, group="cohort",
            ),
        ),
    )
)  # fmt: skip
