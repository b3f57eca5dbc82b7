from .opened_store import OpenedStore as OpenedStore
from .recomputation import Proof as Proof, Recomputer as Recomputer
from .server import serve as serve
from .web_app import web_app as web_app
