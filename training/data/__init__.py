"""Raw data sets become the one prepared file that training reads."""
