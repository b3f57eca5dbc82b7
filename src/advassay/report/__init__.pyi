from .comparison.comparison_page import write_comparison as write_comparison
from .comparison.store_comparison import Comparison as Comparison, compare as compare
from .data.findings import Findings as Findings, gather as gather
from .output.write_report import write_report as write_report
