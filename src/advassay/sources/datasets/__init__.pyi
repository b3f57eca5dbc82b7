from .card_export import datasets_page as datasets_page, study_blocks as study_blocks
from .check_folder import Check as Check, Finding as Finding, check as check
from .dataset_card import DatasetCard as DatasetCard, card_names as card_names, load_card as load_card
