"""Owns the stream."""
