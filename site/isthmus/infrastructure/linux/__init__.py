"""The plug-in for plain Linux machines: namespaces, veth pairs, nothing else to install."""

from isthmus.infrastructure.linux.compute import LinuxCompute
from isthmus.infrastructure.linux.fabric import LinuxFabric
from isthmus.infrastructure.linux.probing import probe_kernel
from isthmus.infrastructure.linux.settings import AttachmentPlace, LinuxSettings

__all__ = ["AttachmentPlace", "LinuxCompute", "LinuxFabric", "LinuxSettings", "probe_kernel"]
