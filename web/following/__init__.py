"""What keeps bodies true and carries them to any number of readers."""
