"""The edge: HTTP in, frozen jobs on; ledger and registry out, JSON back."""
