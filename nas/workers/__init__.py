"""Where candidates are trained: in this process, in worker processes, on a cluster."""
