"""Benchmarks: two ways side by side in one run, as ratios; these machines are noisy."""
