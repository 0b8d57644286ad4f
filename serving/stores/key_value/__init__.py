"""Snapshots in Redis or DynamoDB: one layout, two drivers."""
