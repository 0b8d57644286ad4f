"""The night: one module for each table or artifact built, named by its product."""

import os

# Before NumPy is first imported: Spark runs a task a core and implicit its own threads; BLAS's would fight both.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# OpenMP's threads sleep while they wait, and do not spin: on a busy machine LightGBM took several times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
