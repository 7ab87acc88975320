"""Reads, encodes, enqueues. Whatever happens here, the answers go on being written."""
