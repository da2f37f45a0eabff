"""Search among descriptors: exact and approximate search, and ranking methods."""
