"""Caffe: the blobs in a `.caffemodel`."""
