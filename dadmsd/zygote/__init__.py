"""A zygote: the fork server of one orchestrator, which imports its code once and forks a gated child for every main and worker."""
