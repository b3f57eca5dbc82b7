from .chest.radiograph import landmarks as landmarks
from .rendering import render as render
from .truth import table as table
