"""The worker: owns the streams of answers and writes them."""
