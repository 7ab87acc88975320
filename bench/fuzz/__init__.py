"""Fuzzers: they make texts that no person would write, and keep the most expensive."""
