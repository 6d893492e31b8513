"""How fast etwcap is, and how much memory it takes: ``python -m benchmarks`` (see ``--help``)."""
