"""Layers and files: a layer as a volume for a writer, and a store as a layer."""
