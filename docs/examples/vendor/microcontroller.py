"""The vendor's own part of the manager on plain etcd3: an alert for each chain that does not run.

Level-triggered: each look compares what is with what should be, and writes only the difference, compared with the
revision it has seen, so that two of them cannot undo each other.
"""

import sys

from common import ROOT, forever, opened, sealed

STATUS = "status/"
ALERTS = "x/vendor-x/alerts/"


def listed(client, prefix):
    """Relative key to (revision, envelope)."""
    start = len(ROOT + prefix)
    return {
        meta.key.decode()[start:]: (meta.mod_revision, opened(raw))
        for raw, meta in client.get_prefix(ROOT + prefix)
    }


def look(client):
    reports, alerts = listed(client, STATUS), listed(client, ALERTS)
    wanted = {}
    for chain, (_, report) in reports.items():
        if report is not None and report["body"].get("phase") != "running":
            wanted[chain] = {
                "phase": report["body"]["phase"],
                "reason": report["body"].get("reason", ""),
            }
    for chain in set(wanted) | set(alerts):
        revision, alert = alerts.get(chain, (0, None))
        if wanted.get(chain) == (alert and alert["body"]):
            continue
        key = f"{ROOT}{ALERTS}{chain}"
        change = client.transactions
        client.transaction(
            compare=[change.mod(key) == revision],
            success=[
                change.put(key, sealed("Alert/1", wanted[chain]))
                if chain in wanted
                else change.delete(key)
            ],
            failure=[],
        )


def main(endpoint, folder):
    forever(endpoint, folder, [(STATUS, True), (ALERTS, True)], look)


if __name__ == "__main__":
    main(*sys.argv[1:3])
