"""Captures as Windows would have traced them: traces with a known answer, for testing whatever reads ETL."""
