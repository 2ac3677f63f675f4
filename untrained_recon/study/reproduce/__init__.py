"""The paper's tables and figures from a folder of k-space, its numbers beside ours."""
