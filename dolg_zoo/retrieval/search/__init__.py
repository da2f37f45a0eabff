"""Search among descriptors: exact, approximate, and ranking methods on top."""
