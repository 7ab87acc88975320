"""The command line `outlive`. What talks to people talks HTTP, like any other client."""
