"""The lab: a carrier on one machine, in network namespaces of a private world (DESIGN section 8)."""
