"""The words, and the two servers behind narrow doors."""
