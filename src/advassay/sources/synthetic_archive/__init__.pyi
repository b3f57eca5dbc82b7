from .archive_plan import plan_archive as plan_archive
from .archive_writer import write_archive as write_archive
