from .label_table import Labelled as Labelled, label_reports as label_reports
from .report_classifier import (
    LABELS as LABELS,
    Evidence as Evidence,
    ReportLabels as ReportLabels,
    ReportReader as ReportReader,
)
from .vocabulary import (
    FINDINGS as FINDINGS,
    Vocabulary as Vocabulary,
    languages as languages,
    load_vocabulary as load_vocabulary,
)
