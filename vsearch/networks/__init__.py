"""Networks that read like their papers; `networks.fast` computes the same, faster.

Shapes, in every file: B batch (pictures or sentences), S side of a picture in pixels, N grid cells of a picture or
words of a source sentence, T steps (words of a caption), C channels of a cell, D word-vector size, V vocabulary;
R = B * K rows (K hypotheses of each picture, adjacent), H hidden size, A attention size, P words of all captions of a
batch.
"""
