"""Google Landmarks v2 (Weyand et al., CVPR 2020, arXiv 2004.01804): retrieval and recognition."""
