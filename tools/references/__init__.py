"""The upstream networks in their own frameworks, written for this project, to compare with."""
