"""An index: named descriptors to build, save, open and search."""
