"""An index: named descriptors that are built, saved, opened and searched."""
