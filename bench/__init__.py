"""Measurements that anybody can run; what each measures and how stands in its first lines."""
