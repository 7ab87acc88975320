"""The command line `outlive`: an HTTP client, but for the operator's commands."""
