"""What the road of a token is compared with."""
