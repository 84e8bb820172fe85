"""Engines: what decodes branches over a prefix. `base` is the seam; each other module adapts one library."""
