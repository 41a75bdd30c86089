"""The router: routes calls on vector collections to the pods that hold them."""

from importlib.metadata import version

__version__ = version("podroute")
