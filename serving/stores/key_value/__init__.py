"""Snapshots in Redis or DynamoDB: one layout of keys, two drivers."""
