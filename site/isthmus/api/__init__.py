"""The north side of a tier: REST and an event stream over its keys; the same for a site and the global tier."""

from isthmus.api.app import Application, create_app
from isthmus.api.errors import ApiError
from isthmus.api.settings import ApiSettings, ServeSettings, TcpDoor

__all__ = [
    "ApiError",
    "ApiSettings",
    "Application",
    "ServeSettings",
    "TcpDoor",
    "create_app",
]
