"""What becomes of an archive's bytes: plain functions over data."""

import os

# numpy and scipy, which numba loads, each start threads for linear algebra, which nobody here asks for.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
