"""Everything that speaks to a provider of models."""
