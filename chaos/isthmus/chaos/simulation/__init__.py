"""Seeded simulation of a carrier in virtual time: the real cores, a made-up world, judged histories (issue 5)."""
