"""Revisited Oxford and Paris (Radenovic et al., CVPR 2018, arXiv 1803.11285)."""
