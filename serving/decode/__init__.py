"""Decoding one turn: sequential (one stream) or parallel (plan, branch, join), both as the same events."""
