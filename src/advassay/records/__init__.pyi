from .gallery import (
    Example as Example,
    read_gallery as read_gallery,
    read_image as read_image,
    write_example as write_example,
    write_png as write_png,
)
from .run_header import (
    FORMAT_VERSION as FORMAT_VERSION,
    Account as Account,
    Point as Point,
    RunHeader as RunHeader,
    Spent as Spent,
    attack_rules as attack_rules,
    run_identity as run_identity,
)
from .run_reader import RowIndex as RowIndex, Run as Run, read_header as read_header
from .run_writer import RunWriter as RunWriter
from .shard_compaction import compact as compact
from .store_reader import (
    Records as Records,
    open_records as open_records,
    read_analysis as read_analysis,
    read_cluster as read_cluster,
    read_range_finding as read_range_finding,
)
