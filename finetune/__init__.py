"""Teaches a model to plan and write calls in parallel, and measures how well it does."""
