"""Chains of one site on the shipped Linux plug-ins."""

from tests.packets.site.promises import *  # noqa: F403
