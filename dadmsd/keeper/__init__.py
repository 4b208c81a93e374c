"""The keeper: the daemon's main process, parent of everything. It starts and restarts the servers, keeps their descriptors, and does next to nothing else."""
