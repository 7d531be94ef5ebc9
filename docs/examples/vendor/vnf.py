"""A network function on plain etcd3: the five rules of docs/vnf-authors.md, and nothing of Isthmus."""

import json
import sys
import time

from common import ROOT, forever, read, sealed

REFRESH_S = 30


class Function:
    """``apply`` is where a real one begins; this one takes any object with a known policy."""

    def __init__(self, instance, incarnation):
        self.instance = instance
        self.applied = {"incarnation": incarnation, "config_generation": 0, "config_revision": 0}
        self.seen = None
        self.told_at = 0.0

    def apply(self, parameters):
        policy = parameters.get("default_policy", "drop")
        if policy not in ("accept", "drop"):
            raise ValueError(f"default_policy: {policy!r} is refused; give accept or drop")

    def look(self, client):
        _, owner = read(client, f"config-owner/{self.instance}")
        owner = owner["body"]["owner"] if owner else "configurator"
        revision, value = read(client, f"config/{owner}/{self.instance}")
        if value is None or (
            (owner, revision) == self.seen and time.time() < self.told_at + REFRESH_S
        ):
            return
        if (owner, revision) != self.seen:
            self.take(owner, revision, value)
        self.put(
            client, "state", sealed("InstanceState/1", {"healthy": True, "detail": "vendor-x"}, 90)
        )
        self.put(client, "applied", sealed("Applied/1", self.applied))
        self.seen, self.told_at = (owner, revision), time.time()

    def take(self, owner, revision, value):
        generation = value.get("generation", 0)
        try:
            self.apply(value["body"].get("parameters", {}))
        except ValueError as error:
            refusal = {
                "refused_revision": revision,
                "refused_generation": generation,
                "error": str(error),
            }
            self.applied = {**self.applied, **refusal}
        else:
            self.applied = {
                "incarnation": self.applied["incarnation"],
                "config_revision": revision,
                "config_generation": generation,
                "owner": owner,
            }

    def put(self, client, kind, value):
        client.put(f"{ROOT}instances/{self.instance}/{kind}", value)


def main(endpoint, folder):
    with open(f"{folder}/instance.json") as stream:
        given = json.load(stream)
    instance = given["instance"]
    function = Function(instance, given["incarnation"])
    # Exactly what its role lets it watch: etcd3 0.12.0 hangs on a watch that is refused.
    watches = [(f"config-owner/{instance}", False), (f"config/configurator/{instance}", False)]
    forever(endpoint, folder, watches, function.look)


if __name__ == "__main__":
    main(*sys.argv[1:3])
