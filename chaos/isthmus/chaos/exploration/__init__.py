"""Every order in which a small world can run: real cores, driven step by step, to a stated depth (issue 5)."""

from isthmus.chaos.exploration.explorer import Broken, Exploration, World, explore

__all__ = ["Broken", "Exploration", "World", "explore"]
