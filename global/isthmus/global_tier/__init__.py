"""The global tier: the same pattern one level up; its infrastructure is the sites (DESIGN section 7)."""
