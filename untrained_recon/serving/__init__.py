"""Scans of hosts, one after the other or many at a time: sessions, and the processes that fit."""
