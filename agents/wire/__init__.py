"""Tensors and requests between agents: ``frames`` (encoding), ``air`` (training), ``mgmt`` (control)."""
