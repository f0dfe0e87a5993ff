"""Batch scoring: rows from files through an ensemble into files, on one machine or many."""
