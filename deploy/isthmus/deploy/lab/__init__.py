"""The lab: a carrier on one machine, in network namespaces of a private world (DESIGN section 8)."""

from isthmus.deploy.lab.control import down, execute, status, up

__all__ = ["down", "execute", "status", "up"]
