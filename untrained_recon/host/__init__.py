"""Gadgetron's side of the wire: chains, and scans played to a gadget or a server."""
