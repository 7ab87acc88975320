"""What web and worker share: the pure core, and one room for each server."""
