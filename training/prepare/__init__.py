"""Data-set readers: a raw data set becomes one HDF5 file that training reads."""
