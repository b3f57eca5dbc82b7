from .base import OpenSource as OpenSource
from .image_index import Index as Index, index as index
from .pseudonyms import append_private as append_private, pseudonym_key as pseudonym_key
from .read_failures import Unreadable as Unreadable
from .source_description import SourceDescription as SourceDescription, describe as describe
from .source_opener import open_source as open_source
