"""Who has which address and namespace in a lab: arithmetic, no state, the same for every reader (DESIGN section 8).

10.99.0.0/30        the lab's own console to the wan
10.100.N.0/30       tier N (0: global, then the sites) to the wan: .1 is the tier, .2 the wan
10.101.N.4H/30      host H of site N below its site: +1 is the host, +2 the site
172.20.N.K/32       customer K of site N
"""

from __future__ import annotations

from dataclasses import dataclass

from isthmus.deploy.lab.spec import GLOBAL, LabSpec

WAN = "wan"
CONTROL_PORT = 7443
TOXIPROXY_API = "10.99.0.2:8474"
CONSOLE = "10.99.0.1"
VXLAN_PORT = 4789
HOSTS_NET = "10.101.0.0/16"


@dataclass(frozen=True, slots=True)
class Addresses:
    """Addresses of one lab; tiers are numbered by their place in the spec."""

    spec: LabSpec

    def number(self, tier: str) -> int:
        """0 for the global tier, 1.. for the sites."""
        if tier == GLOBAL:
            return 0
        return 1 + [site.site for site in self.spec.sites].index(tier)

    @property
    def tiers(self) -> tuple[str, ...]:
        """Every tier with a namespace of its own."""
        return ((GLOBAL,) if self.spec.tier else ()) + tuple(s.site for s in self.spec.sites)

    def tier(self, tier: str) -> str:
        """The tier's address on its line to the wan."""
        return f"10.100.{self.number(tier)}.1"

    def wan(self, tier: str) -> str:
        """The wan's address on the line to ``tier``; there toxiproxy listens for its control link."""
        return f"10.100.{self.number(tier)}.2"

    def host(self, site: str, host: str) -> str:
        """The underlay address of a host: where its wires end."""
        return f"10.101.{self.number(site)}.{4 * self._host(host) + 1}"

    def host_gateway(self, site: str, host: str) -> str:
        """The site's address on the line to its host."""
        return f"10.101.{self.number(site)}.{4 * self._host(host) + 2}"

    def hosts_net(self, site: str) -> str:
        """All hosts of a site."""
        return f"10.101.{self.number(site)}.0/24"

    def customer(self, attachment: str) -> str:
        """The address of a customer's premises."""
        for site in self.spec.sites:
            if attachment in site.attachments:
                index = site.attachments.index(attachment) + 1
                return f"172.20.{self.number(site.site)}.{index}"
        raise KeyError(attachment)

    def host_netns(self, site: str, host: str) -> str:
        """The namespace of a host."""
        return f"{site}-{host}"

    def customer_netns(self, attachment: str) -> str:
        """The namespace that stands for a customer's premises."""
        return f"c-{attachment}"

    def host_of(self, attachment: str) -> tuple[str, str]:
        """Site and host where an attachment is delivered: round-robin over the hosts."""
        for site in self.spec.sites:
            if attachment in site.attachments:
                index = site.attachments.index(attachment)
                return site.site, site.host_names[index % site.hosts]
        raise KeyError(attachment)

    @staticmethod
    def _host(host: str) -> int:
        return int(host.removeprefix("h")) - 1
