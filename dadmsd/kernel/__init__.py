"""The kernel: processes, threads and limits. A pure core decides, and the shell around it acts; it may be killed at any time, and the next one goes on."""
