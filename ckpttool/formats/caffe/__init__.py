"""Caffe: the blobs of a .caffemodel."""
