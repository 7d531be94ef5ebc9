"""Every failpoint with a sentence: what is done there already, and what is not done yet.

The name is ``<room>.<step done>``; a test finds names without a place in the code, and places without a name.
"""

from __future__ import annotations

_SITE: dict[str, str] = {
    "intake.disowned": "the owner of a function that the chain loses is gone; the old segment still stands",
    "intake.spec_written": "the segment is admitted; its configuration owners and explanation are not written yet",
    "intake.owners_written": "the owners are written; the explanation is not",
    "intake.explained": "a chain is admitted and explained; the event is not told yet",
    "intake.refused": "a refusal is explained; the event is not told yet",
    "intake.owners_deleted": "a withdrawn chain's owners are gone; its segment still stands",
    "intake.spec_deleted": "a withdrawn segment is gone; its explanation still stands",
    "placer.plan_written": "the plan is written; no host has orders yet",
    "placer.desired_written": "one order to a host is written; others may be missing",
    "placer.orders_written": "all orders are written; the explanation is not",
    "placer.order_deleted": "one order of a withdrawn chain is taken back; others and the plan stand",
    "placer.plan_deleted": "the plan of a withdrawn chain is gone; its explanation still stands",
    "launcher.request_written": "the instance's signing request is written; there is no sandbox yet",
    "launcher.port_made": "ComputePort has made the sandbox; no key says so yet",
    "launcher.runtime_written": "the life is written down; the instance's folder is not mounted",
    "launcher.folder_published": "the folder is mounted; nobody has looked at the instance yet",
    "launcher.lost_written": "a life is written down as lost; what is left of its sandbox still stands",
    "launcher.lost_removed": "a lost sandbox is removed; its folder is still mounted",
    "launcher.folder_withdrawn": "the folder of an instance nobody orders is gone; its sandbox stands",
    "launcher.port_removed": "the sandbox is gone; its keys still say that it runs",
    "launcher.runtime_deleted": "the life's key is gone; its signing request still stands",
    "configurator.config_written": "one instance's configuration is written; others may be missing",
    "configurator.config_deleted": "one configuration that nobody wants is gone; others may stand",
    "credentials.user_made": "the instance's store user exists; its certificate is not signed",
    "credentials.certificate_written": "the certificate is written",
    "credentials.user_removed": "an instance's user is gone; what it wrote still stands",
    "credentials.words_removed": "what an instance wrote is gone; its certificate still stands",
    "chaining.attachments_made": "the circuits' devices are there; the panel is as before",
    "chaining.panel_reconciled": "the kernel has the panel; no key says so yet",
    "chaining.endpoints_written": "the ends of wires are told; the cords are not",
    "chaining.cords_written": "the cords of all chains are told",
    "healer.request_written": "a new life is asked for; the event is not told yet",
    "healer.request_deleted": "a request for an instance nobody orders is gone",
    "reporter.status_written": "a chain's status is written",
    "summarizer.site_written": "the site's summary for its peers is written",
    "summarizer.chain_written": "a peer's chain is reported to it",
    "summarizer.wires_written": "the ends of wires are told to the peers",
}
_GLOBAL: dict[str, str] = {
    "global_intake.intent_written": "the intent stands; its explanation is not written",
    "global_intake.intent_deleted": "the intent is gone; its explanation still stands",
    "global_placer.placement_written": "the reservation stands; its explanation is not written",
    "global_placer.explained": "the reservation is explained; the event is not told yet",
    "global_placer.placement_deleted": "the reservation is gone; its explanation still stands",
    "wiring.vni_claimed": "a network identifier is claimed; no wire names it yet",
    "wiring.wire_written": "one wire is written; the sites know nothing of it",
    "wiring.segment_written": "one site's segment is in its outbox; others may be missing",
    "wiring.far_end_written": "one end knows the other's address; the other may not",
    "wiring.far_ends_deleted": "a withdrawn wire's far ends are gone; its number is still claimed",
    "wiring.vni_deleted": "a withdrawn wire's number is free; the wire still stands",
    "wiring.wire_deleted": "a withdrawn wire is gone; segments may still stand",
    "wiring.segment_deleted": "one segment is taken out of its outbox; others may stand",
}
_LINK: dict[str, str] = {
    "export.history_opened": "the history is proved in our store; the peer has heard nothing",
    "export.begun": "a stream is begun; nothing of it is sent",
    "export.set_sent": "the whole set is sent; its end is not",
    "export.batch_taken": "changes are taken from the outbox; they are not sent yet",
    "export.batch_sent": "a batch is sent; it is not acknowledged",
    "export.proof_renewed": "a newer proof stands in our store; the peer has not got it",
    "import.opened": "the peer's sub-tree is taken over; nothing is asked for yet",
    "import.batch_stored": "changes are stored; they are not acknowledged",
    "import.before_cursor": "changes are stored; the cursor still says where we stood before",
    "import.cursor_written": "the cursor is written; the acknowledgement may not be sent",
    "import.acknowledged": "changes are stored and acknowledged",
}
_RUNTIME: dict[str, str] = {
    "runtime.lead_won": "leadership is won; nothing is decided yet",
    "runtime.before_write": "a decision is taken; it is not written",
    "runtime.after_write": "a write is in the store; its writer does not know it yet",
}
FAILPOINTS: dict[str, str] = {**_RUNTIME, **_SITE, **_GLOBAL, **_LINK}
