"""Fuzzers: they make what nobody would write by hand, and keep what costs most."""
