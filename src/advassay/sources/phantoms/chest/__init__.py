"""A frontal (PA) chest radiograph from a few dozen draws. Start in `radiograph.py`; a module a body part."""
