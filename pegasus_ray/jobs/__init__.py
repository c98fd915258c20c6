"""Work over a library: plans, keys, and for each stage the job that reads its inputs and commits its result."""
