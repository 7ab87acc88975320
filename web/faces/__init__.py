"""HTTP dialects over the same reading. They do not know one another."""
