"""The library of pictures: found on disk, embedded once, searched by vectors. Knows no torch."""
