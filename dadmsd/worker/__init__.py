"""A worker: an OS process that runs the threads of one process, and leaves each result where it survives the worker."""
