"""Measures of finished models and of trainings."""
