"""Spark for the other rooms: the session, the queries of `sql/`, and one task for each user shard."""
