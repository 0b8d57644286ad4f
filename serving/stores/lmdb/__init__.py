"""Snapshots in files of one host, mapped into memory."""
