"""Serves an open model: decodes the calls of a turn concurrently, runs them concurrently, answers over HTTP."""
