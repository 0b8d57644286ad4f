"""What runs queries of `sql/` and the work of each user shard: this machine's processes, or Spark."""
