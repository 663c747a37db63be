"""What runs the stages of stale shards: processes of this machine, a Slurm cluster, Ray."""
